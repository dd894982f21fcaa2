// What rows of any rule and dim share, compiled once.
#include "precision.hpp"
#include "rules.hpp"

namespace larix {

LARIX_SIMD void hold(float* row, float most, size_t dim) {
  float norm = std::sqrt(sum_of_squares(row, dim));
  const bool huge = std::isinf(norm);
  if (huge) {
    scale(row, 0x1p-80f, dim);
    norm = std::sqrt(sum_of_squares(row, dim));
  }
  if (huge || norm > most) scale(row, most / norm, dim);
}

LARIX_SIMD void load(Precision precision, const char* weights, float* to, size_t dim) {
  switch (precision) {
    case Precision::fp32: return load<Precision::fp32>(weights, to, dim);
    case Precision::bf16: return load<Precision::bf16>(weights, to, dim);
    case Precision::fp16: return load<Precision::fp16>(weights, to, dim);
  }
}

LARIX_SIMD void store(Precision precision, const float* from, char* weights, size_t dim) {
  auto* const halves = reinterpret_cast<uint16_t*>(weights);
  switch (precision) {
    case Precision::fp32: std::memcpy(weights, from, dim * sizeof(float)); return;
    case Precision::bf16: return round_nearest<Precision::bf16>(from, halves, dim);
    case Precision::fp16: return round_nearest<Precision::fp16>(from, halves, dim);
  }
}

LARIX_SIMD void store(Precision precision, const float* from, const Draws& draws, char* weights, size_t dim) {
  auto* const halves = reinterpret_cast<uint16_t*>(weights);
  switch (precision) {
    case Precision::fp32: std::memcpy(weights, from, dim * sizeof(float)); return;
    case Precision::bf16: return round_stochastic<Precision::bf16>(from, draws, halves, dim);
    case Precision::fp16: return round_stochastic<Precision::fp16>(from, draws, halves, dim);
  }
}

}  // namespace larix
