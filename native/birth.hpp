// How a row is born: the C++ twin of embedding/birth.py, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hash.hpp"

namespace larix {

enum class Init { constant = 0, uniform = 1, normal = 2 };

struct Birth {
  Init init;
  uint64_t key;  // hash of seed and table
  float factor;
};

inline void bear(const Birth& birth, int64_t id, float* weights, size_t dim) {
  uint64_t draw = mix(mix(static_cast<uint64_t>(id)) ^ birth.key);
  for (size_t column = 0; column < dim; ++column) {
    draw += kGolden;
    if (birth.init == Init::constant) {
      weights[column] = birth.factor;
    } else if (birth.init == Init::uniform) {
      weights[column] = (static_cast<float>(mix(draw) >> 40) * 0x1p-23f - 1.0f) * birth.factor;
    } else {
      const uint64_t bits = mix(draw);
      const uint64_t sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
      weights[column] = static_cast<float>(static_cast<int32_t>(sum) - 2 * 0xFFFF) * birth.factor;
    }
  }
}

}  // namespace larix
