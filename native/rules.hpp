// One step of one row: the C++ twin of embedding/reference/step.py, operation by operation and so bit by bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "optimizer.hpp"
#include "simd.hpp"

namespace larix {

// Lanes of a 16-wide register first, then halves onto halves: an order that needs no -ffast-math to be fast.
LARIX_INLINE float sum_of_squares(const float* row, size_t dim) {
  float lanes[16] = {};
  size_t at = 0;
  for (; at + 16 <= dim; at += 16) {
    LARIX_COLUMNS
    for (size_t lane = 0; lane < 16; ++lane) lanes[lane] += row[at + lane] * row[at + lane];
  }
  for (size_t lane = 0; at + lane < dim; ++lane) lanes[lane] += row[at + lane] * row[at + lane];
  LARIX_COLUMNS
  for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += lanes[lane + 8];
  LARIX_COLUMNS
  for (size_t lane = 0; lane < 4; ++lane) lanes[lane] += lanes[lane + 4];
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

LARIX_INLINE void scale(float* __restrict row, float by, size_t dim) {
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) row[i] *= by;
}

// Scales a row down whose L2 norm is above ``most``; one whose squares overflow is made smaller first. Not inline: every
// rule at every dim would have its own.
void hold(float* row, float most, size_t dim);

// What Adam's kin share: raises the row's step count, moves its moments, and leaves in ``grad`` ``numerator`` times the
// first moment without bias over the root of the second.
LARIX_INLINE void adam(const Optimizer& optimizer, double numerator, float* __restrict state, float* __restrict grad,
                       size_t dim) {
  float* __restrict first = state;
  float* __restrict second = state + dim;
  float& count = state[2 * dim];
  count += 1.0f;
  const auto steps = static_cast<uint64_t>(count >= 1.0f ? std::min(count, 0x1p24f) : 1.0f);  // puts may hold anything
  const auto beta1 = static_cast<float>(optimizer.beta1);
  const auto beta2 = static_cast<float>(optimizer.beta2);
  const auto correction = static_cast<float>(numerator / (1.0 - power(optimizer.beta1, steps)));
  const auto root = static_cast<float>(std::sqrt(1.0 - power(optimizer.beta2, steps)));
  const float eps = optimizer.eps;
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) {
    first[i] = beta1 * first[i] + (1.0f - beta1) * grad[i];
    second[i] = beta2 * second[i] + (1.0f - beta2) * grad[i] * grad[i];
    grad[i] = correction * first[i] / (std::sqrt(second[i]) / root + eps);
  }
}

template <Rule rule>
LARIX_INLINE void apply_rule(const Optimizer& optimizer, float rate, float* __restrict weights,
                             float* __restrict state, float* __restrict grad, size_t dim) {
  const float eps = optimizer.eps;
  if constexpr (rule == Rule::sgd) {
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) weights[i] -= rate * grad[i];
  } else if constexpr (rule == Rule::momentum) {
    const float momentum = optimizer.momentum;
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) state[i] = momentum * state[i] + grad[i];
    if (optimizer.nesterov) {
      LARIX_COLUMNS
      for (size_t i = 0; i < dim; ++i) weights[i] -= rate * (grad[i] + momentum * state[i]);
    } else {
      LARIX_COLUMNS
      for (size_t i = 0; i < dim; ++i) weights[i] -= rate * state[i];
    }
  } else if constexpr (rule == Rule::adagrad) {
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) {
      state[i] += grad[i] * grad[i];
      weights[i] -= rate * grad[i] / (std::sqrt(state[i]) + eps);
    }
  } else if constexpr (rule == Rule::row_adagrad) {
    state[0] += sum_of_squares(grad, dim) / static_cast<float>(dim);
    const float pace = rate / (std::sqrt(state[0]) + eps);
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) weights[i] -= pace * grad[i];
  } else if constexpr (rule == Rule::adam || rule == Rule::adamw) {
    adam(optimizer, rate, state, grad, dim);
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) weights[i] -= grad[i];
  } else if constexpr (rule == Rule::ftrl) {
    float* __restrict z = state;
    float* __restrict n = state + dim;
    const float threshold = optimizer.threshold(), offset = optimizer.offset();
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) {
      const float before = std::sqrt(n[i]);
      n[i] += grad[i] * grad[i];
      const float after = std::sqrt(n[i]);
      z[i] += rate * grad[i] - (after - before) * weights[i];
      const float excess = std::fabs(z[i]) - threshold;
      const float follows = std::copysign(excess, -z[i]) / (after + offset);
      weights[i] = excess <= 0.0f ? 0.0f : follows;
    }
  } else {
    static_assert(rule == Rule::lamb);
    adam(optimizer, 1.0, state, grad, dim);
    const float decay = optimizer.weight_decay;
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) grad[i] += decay * weights[i];
    const float ours = std::sqrt(sum_of_squares(weights, dim)), theirs = std::sqrt(sum_of_squares(grad, dim));
    const float pace = rate * (ours == 0.0f || theirs == 0.0f ? 1.0f : ours / theirs);
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) weights[i] -= pace * grad[i];
  }
}

// Steps a row in place. ``grad``, the row's summed gradient, is worked on in place, too.
template <Rule rule>
LARIX_INLINE void step(const Optimizer& optimizer, float rate, float* __restrict weights, float* __restrict state,
                       float* __restrict grad, size_t dim) {
  constexpr bool decays = rule != Rule::adamw && rule != Rule::ftrl && rule != Rule::lamb;
  const float decay = optimizer.weight_decay;
  if (optimizer.clip_grad != 0.0f) hold(grad, optimizer.clip_grad, dim);
  if (decays && decay != 0.0f) {
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) grad[i] += decay * weights[i];
  }
  if (rule == Rule::adamw && decay != 0.0f) scale(weights, 1.0f - rate * decay, dim);
  apply_rule<rule>(optimizer, rate, weights, state, grad, dim);
  if (optimizer.max_norm != 0.0f) hold(weights, optimizer.max_norm, dim);
}

}  // namespace larix
