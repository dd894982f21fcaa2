// How a row is born: the C++ twin of embedding/birth.py, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hash.hpp"
#include "simd.hpp"

namespace larix {

enum class Init { constant = 0, uniform = 1, normal = 2 };

struct Birth {
  Init init;
  uint64_t key;  // hash of seed and table
  float factor;
};

LARIX_INLINE void bear(const Birth& birth, int64_t id, float* __restrict weights, size_t dim) {
  const uint64_t first = mix(mix(static_cast<uint64_t>(id)) ^ birth.key);
  const float factor = birth.factor;
  switch (birth.init) {
    case Init::constant:
      for (size_t column = 0; column < dim; ++column) weights[column] = factor;
      return;
    case Init::uniform:
      LARIX_COLUMNS
      for (size_t column = 0; column < dim; ++column) {
        const auto bits = static_cast<int32_t>(mix(first + (column + 1) * kGolden) >> 40);
        weights[column] = (static_cast<float>(bits) * 0x1p-23f - 1.0f) * factor;
      }
      return;
    case Init::normal:
      LARIX_COLUMNS
      for (size_t column = 0; column < dim; ++column) {
        const uint64_t bits = mix(first + (column + 1) * kGolden);
        const uint64_t sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
        weights[column] = static_cast<float>(static_cast<int32_t>(sum) - 2 * 0xFFFF) * factor;
      }
      return;
  }
}

}  // namespace larix
