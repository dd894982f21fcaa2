// What weights are kept as between steps: the C++ twin of embedding/precision.py, bit for bit.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hash.hpp"
#include "simd.hpp"

namespace larix {

enum class Precision { fp32 = 0, bf16 = 1, fp16 = 2 };

// Bytes of a row's weights; what comes after them lies at a multiple of four.
constexpr size_t weight_bytes(Precision precision, size_t dim) {
  return precision == Precision::fp32 ? dim * sizeof(float) : (dim * sizeof(uint16_t) + 3) / 4 * 4;
}

// Weights of 16 bits. float32 has none of this: it is read and written as it is.
template <Precision precision>
struct Half {
  static_assert(precision != Precision::fp32);
  static constexpr bool kBrain = precision == Precision::bf16;
  static constexpr uint32_t kInfinity = 0x7F800000;  // of float32, as is the next
  static constexpr uint32_t kSmall = 0x38800000;     // 2**-14: below, fp16 has steps of 2**-24 whatever the exponent
  static constexpr uint32_t kShift = kBrain ? 16 : 13;              // bits that are rounded away
  static constexpr uint32_t kBias = kBrain ? 0 : (127 - 15) << 10;  // between the exponents
  static constexpr uint32_t kLargest = kBrain ? 0x7F7F : 0x7BFF;

  static LARIX_INLINE float widen(uint16_t half) {
    const uint32_t size = half & 0x7FFFu, sign = (half & 0x8000u) << 16;
    if constexpr (kBrain) return std::bit_cast<float>(size << 16 | sign);
    const uint32_t normal = (size << 13) + (kBias << 13);
    const uint32_t small = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(size)) * 0x1p-24f);
    const uint32_t found = size < 0x0400 ? small : size < 0x7C00 ? normal : (size << 13) | kInfinity;
    return std::bit_cast<float>(found | sign);
  }

  static LARIX_INLINE uint16_t nearest(float weight) {
    const uint32_t size = size_of(weight);
    const uint32_t even = (size >> kShift) & 1;
    const uint32_t normal = ((size + ((1u << kShift) / 2 - 1) + even) >> kShift) - kBias;
    // 0.5 has the steps that small numbers have: adding it rounds them
    const float small = std::bit_cast<float>(size < kSmall ? size : 0) + 0.5f;
    return join(weight, normal, std::bit_cast<uint32_t>(small) - 0x3F000000);
  }

  static LARIX_INLINE uint16_t stochastic(float weight, uint32_t bits) {
    const uint32_t size = size_of(weight);
    const uint32_t normal = ((size + (bits >> (32 - kShift))) >> kShift) - kBias;
    const auto fixed = static_cast<int32_t>(std::bit_cast<float>(size < kSmall ? size : 0) * 0x1p45f);
    return join(weight, normal, (static_cast<uint32_t>(fixed) + (bits >> 11)) >> 21);
  }

 private:
  static LARIX_INLINE uint32_t size_of(float weight) { return std::bit_cast<uint32_t>(weight) & 0x7FFFFFFFu; }

  // The rules for what is too large or no number; ``normal`` and ``small`` are what a finite size is rounded to.
  static LARIX_INLINE uint16_t join(float weight, uint32_t normal, uint32_t small) {
    const uint32_t size = size_of(weight), sign = std::bit_cast<uint32_t>(weight) >> 16 & 0x8000u;
    const uint32_t finite = !kBrain && size < kSmall ? small : std::min(normal, kLargest);
    const uint32_t infinity = kLargest + 1, nan = kBrain ? 0x7FC0 : 0x7E00;
    return static_cast<uint16_t>((size < kInfinity ? finite : size == kInfinity ? infinity : nan) | sign);
  }
};

// Rounds to the nearest bfloat16 as torch's cast does: what is too large becomes infinite, where Half keeps it finite.
LARIX_INLINE uint16_t bf16_of(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  const uint32_t rounded = (bits + (0x7FFFu + (bits >> 16 & 1))) >> 16, nan = (bits >> 16 & 0x8000u) | 0x7FC0u;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

// Random bits of one row in one step of the store: pure, so that any store rounds alike.
class Draws {
 public:
  static uint64_t of_step(uint64_t step) { return mix(step + kGolden); }

  // ``key``: of the table. ``step``: what of_step gave.
  Draws(uint64_t key, int64_t id, uint64_t step) : start_(mix(mix(mix(static_cast<uint64_t>(id)) ^ key) ^ step)) {}

  // Those of columns [16 * block, 16 * block + 16).
  LARIX_INLINE void block(uint64_t block, uint32_t* bits) const {
    static_assert(std::endian::native == std::endian::little);
    uint64_t words[8];
    LARIX_COLUMNS
    for (uint64_t at = 0; at < 8; ++at) words[at] = mix(start_ + (8 * block + at + 1) * kGolden);
    std::memcpy(bits, words, sizeof(words));
  }

 private:
  uint64_t start_;
};

template <Precision precision>
LARIX_INLINE void widen(const uint16_t* __restrict from, float* __restrict to, size_t dim) {
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) to[i] = Half<precision>::widen(from[i]);
}

template <Precision precision>
LARIX_INLINE void round_nearest(const float* __restrict from, uint16_t* __restrict to, size_t dim) {
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) to[i] = Half<precision>::nearest(from[i]);
}

template <Precision precision>
LARIX_INLINE void round_stochastic(const float* __restrict from, const Draws& draws, uint16_t* __restrict to,
                                   size_t dim) {
  uint32_t bits[16];
  size_t at = 0;
  for (; at + 16 <= dim; at += 16) {
    draws.block(at / 16, bits);
    LARIX_COLUMNS
    for (size_t i = 0; i < 16; ++i) to[at + i] = Half<precision>::stochastic(from[at + i], bits[i]);
  }
  if (at == dim) return;
  draws.block(at / 16, bits);
  for (size_t i = 0; at + i < dim; ++i) to[at + i] = Half<precision>::stochastic(from[at + i], bits[i]);
}

// The same for weights of any precision as they lie in a row.

template <Precision precision>
LARIX_INLINE float weight_at(const char* weights, size_t i) {
  if constexpr (precision == Precision::fp32) {
    return reinterpret_cast<const float*>(weights)[i];
  } else {
    return Half<precision>::widen(reinterpret_cast<const uint16_t*>(weights)[i]);
  }
}

template <Precision precision>
LARIX_INLINE void load(const char* weights, float* __restrict to, size_t dim) {
  if constexpr (precision == Precision::fp32) {
    std::memcpy(to, weights, dim * sizeof(float));
  } else {
    widen<precision>(reinterpret_cast<const uint16_t*>(weights), to, dim);
  }
}

// The same to bfloat16.
template <Precision precision>
LARIX_INLINE void load(const char* weights, uint16_t* __restrict to, size_t dim) {
  if constexpr (precision == Precision::bf16) {
    std::memcpy(to, weights, dim * sizeof(uint16_t));
  } else {
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) to[i] = bf16_of(weight_at<precision>(weights, i));
  }
}

// Not inline: every rule at every dim would have its own.

void load(Precision precision, const char* weights, float* to, size_t dim);

// Rounds to the nearest, as births and puts do.
void store(Precision precision, const float* from, char* weights, size_t dim);

// Rounds stochastically, as steps do.
void store(Precision precision, const float* from, const Draws& draws, char* weights, size_t dim);

}  // namespace larix
