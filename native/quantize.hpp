// What a serving replica keeps of a row: its weights as float32, bfloat16, float16, or int8 with one float32 scale. The
// C++ twin of embedding/quantize.py, bit for bit. Rows begin at multiples of four bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "precision.hpp"
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
  auto* const halves = reinterpret_cast<uint16_t*>(row);
  switch (format) {
    case Format::fp32: std::memcpy(row, weights, dim * sizeof(float)); break;
    case Format::bf16: round_nearest<Precision::bf16>(weights, halves, dim); break;
    case Format::fp16: round_nearest<Precision::fp16>(weights, halves, dim); break;
    case Format::int8: encode_int8(weights, dim, row); break;
  }
}

// Each reads the weights of one row.

struct Fp32Row {
  static constexpr Format kFormat = Format::fp32;
  const float* weights;
  explicit Fp32Row(const char* row) : weights(reinterpret_cast<const float*>(row)) {}
  LARIX_INLINE float operator[](size_t i) const { return weights[i]; }
};

template <Precision precision>
struct HalfRow {
  static constexpr Format kFormat = precision == Precision::bf16 ? Format::bf16 : Format::fp16;
  const uint16_t* halves;
  explicit HalfRow(const char* row) : halves(reinterpret_cast<const uint16_t*>(row)) {}
  LARIX_INLINE float operator[](size_t i) const { return Half<precision>::widen(halves[i]); }
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
