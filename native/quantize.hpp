// What a serving replica keeps of a row: its weights as float32, bfloat16, float16, or int8 with one float32 scale. The
// C++ twin of embedding/quantize.py, bit for bit. Rows begin at multiples of four bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simd.hpp"

namespace larix {

enum class Format { fp32 = 0, bf16 = 1, fp16 = 2, int8 = 3 };

constexpr size_t encoded_bytes(Format format, size_t dim) {
  switch (format) {
    case Format::fp32: return dim * 4;
    case Format::int8: return 4 + (dim + 3) / 4 * 4;
    default: return (dim * 2 + 3) / 4 * 4;
  }
}

// ---- float32 to fewer bits: to the nearest, ties to even; a finite number stays finite; one NaN for all.

LARIX_INLINE uint16_t bf16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t size = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
  const uint32_t rounded = (size + 0x7FFF + (size >> 16 & 1)) >> 16;
  const uint32_t finite = rounded < 0x7F7F ? rounded : 0x7F7F;
  return static_cast<uint16_t>(sign | (size < 0x7F800000 ? finite : size == 0x7F800000 ? 0x7F80 : 0x7FC0));
}

LARIX_INLINE uint16_t fp16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t size = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
  const uint32_t rounded = (size + 0xFFF + (size >> 13 & 1) - (uint32_t{112} << 23)) >> 13;
  // Below 2^-14 steps are 2^-24 wide, as they are in floats about a half.
  const uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  const uint32_t finite = size < 0x38800000 ? small : rounded < 0x7BFF ? rounded : 0x7BFF;
  return static_cast<uint16_t>(sign | (size < 0x7F800000 ? finite : size == 0x7F800000 ? 0x7C00 : 0x7E00));
}

// The scale of a row whose largest weight is ``largest``: a normal float, so that dividing by it is exact enough, and such
// that 127 of it are finite; NaN for a row with an infinity.
LARIX_INLINE float int8_scale(float largest) {
  constexpr float kSmallest = 0x1p-126f, kLargest = 0x1.020406p+121f;
  const float scale = largest / 127.0f;
  if (!(largest < std::bit_cast<float>(0x7F800000))) return std::bit_cast<float>(0x7FC00000);
  return scale < kSmallest ? kSmallest : scale > kLargest ? kLargest : scale;
}

LARIX_INLINE void encode_int8(const float* weights, size_t dim, char* row) {
  float largest = 0.0f;
  bool numbers = true;
  for (size_t i = 0; i < dim; ++i) {
    const float size = std::bit_cast<float>(std::bit_cast<uint32_t>(weights[i]) & 0x7FFFFFFF);
    numbers &= size == size;
    largest = size > largest ? size : largest;
  }
  const float scale = numbers ? int8_scale(largest) : std::bit_cast<float>(0x7FC00000);
  std::memcpy(row, &scale, sizeof(scale));
  auto* into = reinterpret_cast<int8_t*>(row + sizeof(scale));
  if (scale != scale) {
    std::memset(into, 0, dim);
    return;
  }
  for (size_t i = 0; i < dim; ++i) {
    constexpr float kWhole = 0x1.8p23f;  // a float this large has no fraction: adding it rounds, ties to even
    into[i] = static_cast<int8_t>((weights[i] / scale + kWhole) - kWhole);
  }
}

// ``row``: room for encoded_bytes.
LARIX_INLINE void encode(Format format, const float* weights, size_t dim, char* row) {
  auto* halves = reinterpret_cast<uint16_t*>(row);
  switch (format) {
    case Format::fp32: std::memcpy(row, weights, dim * sizeof(float)); break;
    case Format::bf16: for (size_t i = 0; i < dim; ++i) halves[i] = bf16_of(weights[i]); break;
    case Format::fp16: for (size_t i = 0; i < dim; ++i) halves[i] = fp16_of(weights[i]); break;
    case Format::int8: encode_int8(weights, dim, row); break;
  }
}

// ---- and back: each reads the weights of one row.

struct Fp32Row {
  static constexpr Format kFormat = Format::fp32;
  const float* weights;
  explicit Fp32Row(const char* row) : weights(reinterpret_cast<const float*>(row)) {}
  LARIX_INLINE float operator[](size_t i) const { return weights[i]; }
};

struct Bf16Row {
  static constexpr Format kFormat = Format::bf16;
  const uint16_t* halves;
  explicit Bf16Row(const char* row) : halves(reinterpret_cast<const uint16_t*>(row)) {}
  LARIX_INLINE float operator[](size_t i) const { return std::bit_cast<float>(uint32_t{halves[i]} << 16); }
};

struct Fp16Row {
  static constexpr Format kFormat = Format::fp16;
  const uint16_t* halves;
  explicit Fp16Row(const char* row) : halves(reinterpret_cast<const uint16_t*>(row)) {}
  LARIX_INLINE float operator[](size_t i) const {
    constexpr uint32_t kLift = uint32_t{112} << 23;  // between the two biases of the exponent
    const uint32_t half = halves[i], sign = (half & 0x8000) << 16, size = (half & 0x7FFF) << 13;
    const uint32_t exponent = size & 0x0F800000;
    const uint32_t lifted = size + kLift + (exponent == 0x0F800000 ? kLift : 0);
    const float small = std::bit_cast<float>(size + kLift + (uint32_t{1} << 23)) - 0x1p-14f;
    return std::bit_cast<float>((exponent ? lifted : std::bit_cast<uint32_t>(small)) | sign);
  }
};

struct Int8Row {
  static constexpr Format kFormat = Format::int8;
  float scale;
  const int8_t* steps;
  explicit Int8Row(const char* row) : steps(reinterpret_cast<const int8_t*>(row + sizeof(scale))) {
    std::memcpy(&scale, row, sizeof(scale));
  }
  LARIX_INLINE float operator[](size_t i) const { return static_cast<float>(steps[i]) * scale; }
};

}  // namespace larix
