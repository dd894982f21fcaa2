// The optimizers of rows: their numbers and what they keep in a row, as embedding/optimizer.py declares them. The
// arithmetic is in rules.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "schedule.hpp"

namespace larix {

enum class Rule { sgd = 0, momentum = 1, adagrad = 2, row_adagrad = 3, adam = 4, adamw = 5, ftrl = 6, lamb = 7 };

// Numbers that a rule does not know are not looked at.
struct Optimizer {
  Rule rule = Rule::sgd;
  double lr = 0.05;
  float eps = 1e-8f;
  double beta1 = 0.9;
  double beta2 = 0.999;
  float momentum = 0.9f;
  bool nesterov = false;
  double beta = 1.0;
  double l1 = 0.0;
  double l2 = 0.0;
  float initial = 0.0f;  // of sums of squares
  float weight_decay = 0.0f;
  float clip_grad = 0.0f;  // 0: not clipped
  float max_norm = 0.0f;   // 0: not held
  Schedule schedule{};

  // Floats of state in a row.
  size_t state(size_t dim) const {
    switch (rule) {
      case Rule::sgd: return 0;
      case Rule::row_adagrad: return 1;
      case Rule::momentum:
      case Rule::adagrad: return dim;
      case Rule::ftrl: return 2 * dim;
      case Rule::adam:
      case Rule::adamw:
      case Rule::lamb: return 2 * dim + 1;
    }
    return 0;
  }

  // The lr of the store's step number ``step``.
  float rate(uint64_t step, double lr_scale) const {
    return static_cast<float>(lr * schedule.factor(step) * lr_scale);
  }

  // Of FTRL: how far z must be from zero, and what is added to the root of n.
  float threshold() const { return static_cast<float>(lr * l1); }
  float offset() const { return static_cast<float>(beta + lr * l2); }

  // State of a row that is born with ``weights``.
  void first_state(const float* weights, float* values, size_t dim) const {
    const bool sums = rule == Rule::adagrad || rule == Rule::row_adagrad;
    std::fill_n(values, state(dim), sums ? initial : 0.0f);
    if (rule != Rule::ftrl) return;
    std::fill_n(values + dim, dim, initial);
    for (size_t i = 0; i < dim; ++i) {
      const float size = std::fabs(weights[i]) * (std::sqrt(initial) + offset()) + threshold();
      values[i] = weights[i] == 0.0f ? 0.0f : std::copysign(size, -weights[i]);
    }
  }
};

}  // namespace larix
