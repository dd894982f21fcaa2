// What a table's lr is multiplied by in one step of the store: the C++ twin of embedding/schedule.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace larix {

// By repeated squaring: the same bits everywhere, which std::pow does not promise.
inline double power(double base, uint64_t exponent) {
  double result = 1.0;
  for (; exponent; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return result;
}

enum class Decay { none = 0, cosine = 1, inverse_sqrt = 2, step = 3 };

struct Schedule {
  uint64_t warmup = 0;  // steps before ``decay`` begins
  Decay decay = Decay::none;
  uint64_t steps = 1;    // of the decay: how many, or one in how many
  double number = 0.0;  // its floor or ratio

  double factor(uint64_t step) const {
    if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
    step -= warmup;
    const auto length = static_cast<double>(steps);
    switch (decay) {
      case Decay::none: return 1.0;
      case Decay::cosine: {
        const double part = static_cast<double>(std::min(step, steps)) / length;
        return number + (1.0 - number) * (0.5 * (1.0 + std::cos(3.141592653589793 * part)));
      }
      case Decay::inverse_sqrt: return std::sqrt(length / (length + static_cast<double>(step)));
      case Decay::step: return power(number, step / steps);
    }
    return 1.0;
  }
};

}  // namespace larix
