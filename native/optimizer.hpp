// The fused optimizers: one step of one row, the C++ twin of embedding/reference.py, bit for bit.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace larix {

enum class Rule { sgd = 0, adagrad = 1, row_adagrad = 2, adam = 3 };

struct Optimizer {
  Rule rule;
  double lr;
  double eps;
  double beta1;
  double beta2;
  float initial;  // of every state value

  size_t state(size_t dim) const {
    switch (rule) {
      case Rule::sgd: return 0;
      case Rule::adagrad: return dim;
      case Rule::row_adagrad: return 1;
      case Rule::adam: return 2 * dim + 1;
    }
    return 0;
  }
};

// By repeated squaring: the same bits everywhere, which std::pow does not promise.
inline double power(double base, uint64_t exponent) {
  double result = 1.0;
  for (; exponent; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return result;
}

// Lanes of a 16-wide register first, then halves onto halves: an order that needs no -ffast-math to be fast.
LARIX_INLINE float sum_of_squares(const float* grad, size_t dim) {
  float lanes[16] = {};
  size_t at = 0;
  for (; at + 16 <= dim; at += 16) {
    for (size_t lane = 0; lane < 16; ++lane) lanes[lane] += grad[at + lane] * grad[at + lane];
  }
  for (size_t lane = 0; at + lane < dim; ++lane) lanes[lane] += grad[at + lane] * grad[at + lane];
  for (size_t half = 8; half; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

template <Rule rule>
LARIX_INLINE void step(const Optimizer& optimizer, float lr, float* __restrict weights, float* __restrict state,
                       const float* __restrict grad, size_t dim) {
  const auto eps = static_cast<float>(optimizer.eps);
  if constexpr (rule == Rule::sgd) {
    for (size_t i = 0; i < dim; ++i) weights[i] -= lr * grad[i];
  } else if constexpr (rule == Rule::adagrad) {
    for (size_t i = 0; i < dim; ++i) {
      state[i] += grad[i] * grad[i];
      weights[i] -= lr * grad[i] / (std::sqrt(state[i]) + eps);
    }
  } else if constexpr (rule == Rule::row_adagrad) {
    state[0] += sum_of_squares(grad, dim) / static_cast<float>(dim);
    const float rate = lr / (std::sqrt(state[0]) + eps);
    for (size_t i = 0; i < dim; ++i) weights[i] -= rate * grad[i];
  } else {
    float* first = state;
    float* second = state + dim;
    float& count = state[2 * dim];
    count += 1.0f;
    const auto steps = static_cast<uint64_t>(count);
    const auto beta1 = static_cast<float>(optimizer.beta1);
    const auto beta2 = static_cast<float>(optimizer.beta2);
    const auto rate = static_cast<float>(static_cast<double>(lr) / (1.0 - power(optimizer.beta1, steps)));
    const auto root = static_cast<float>(std::sqrt(1.0 - power(optimizer.beta2, steps)));
    for (size_t i = 0; i < dim; ++i) {
      first[i] = beta1 * first[i] + (1.0f - beta1) * grad[i];
      second[i] = beta2 * second[i] + (1.0f - beta2) * grad[i] * grad[i];
      weights[i] -= rate * first[i] / (std::sqrt(second[i]) / root + eps);
    }
  }
}

}  // namespace larix
