#include "candidates.hpp"

#include <algorithm>
#include <string>

namespace larix {

namespace {

constexpr size_t kLanes = 8;
typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double))));

// Fills [dim][tile] with ``rows`` rows of [dim] and zeros beside them, each at length one; returns the first row that is not
// finite, or ``rows``.
template <size_t kTile>
LARIX_INLINE size_t fill(const float* vectors, size_t rows, size_t dim, double* tile) {
  double squares[kTile] = {}, scale[kTile];
  for (size_t k = 0; k < dim; ++k) {
    for (size_t j = 0; j < rows; ++j) tile[k * kTile + j] = static_cast<double>(vectors[j * dim + k]);
    for (size_t j = 0; j < kTile; ++j) squares[j] += tile[k * kTile + j] * tile[k * kTile + j];
  }
  for (size_t j = 0; j < kTile; ++j) scale[j] = squares[j] > 0.0 ? 1.0 / std::sqrt(squares[j]) : 0.0;
  for (size_t k = 0; k < dim; ++k) {
    for (size_t j = 0; j < kTile; ++j) tile[k * kTile + j] *= scale[j];
  }
  size_t good = 0;
  while (good < rows && std::isfinite(squares[good])) ++good;
  return good;
}

Status not_finite(size_t item, const char* what) {
  return Status::error("candidate " + std::to_string(item) + " has " + what + " that is not finite");
}

}  // namespace

Status Candidates::read(const Items& items) {
  dim_ = items.dim;
  const size_t tiles = (items.count + kTile - 1) / kTile;
  tiles_.assign(tiles * dim_ * kTile, 0.0);
  relevance_.assign(tiles * kTile, kTaken);
  for (size_t j = 0; j < items.count; ++j) {
    relevance_[j] = static_cast<double>(items.relevance[j]);
    if (!std::isfinite(relevance_[j])) return not_finite(j, "a relevance");
  }
  for (size_t start = 0; start < items.count; start += kTile) {
    const size_t rows = std::min(kTile, items.count - start);
    const size_t good = scaled(items.vectors + start * dim_, rows, tiles_.data() + start * dim_);
    if (good < rows) return not_finite(start + good, "a vector");
  }
  return {};
}

LARIX_SIMD size_t Candidates::scaled(const float* vectors, size_t rows, double* tile) const {
  return fill<kTile>(vectors, rows, dim_, tile);
}

void Candidates::unit(size_t item, double* out) const {
  const double* from = tiles_.data() + item / kTile * dim_ * kTile + item % kTile;
  for (size_t k = 0; k < dim_; ++k) out[k] = from[k * kTile];
}

void Candidates::whole(double* out) const {
  for (size_t start = 0; start < width(); start += kTile) {
    const double* tile = tiles_.data() + start * dim_;
    for (size_t j = 0; j < kTile; ++j) {
      out[start + j] = 0.0;
      for (size_t k = 0; k < dim_ && out[start + j] == 0.0; ++k) out[start + j] = tile[k * kTile + j] != 0.0;
    }
  }
}

size_t Candidates::take(const double* scores) {
  size_t best = 0;
  for (size_t j = 1; j < width(); ++j) {
    if (scores[j] > scores[best]) best = j;
  }
  relevance_[best] = kTaken;
  return best;
}

template <size_t Directions>
LARIX_INLINE void Candidates::pass(const double* const* directions, double* const* outs) const {
  constexpr size_t kParts = kTile / kLanes;
  for (size_t start = 0; start < width(); start += kTile) {
    const double* tile = tiles_.data() + start * dim_;
    Lanes sums[Directions][kParts] = {};
    for (size_t k = 0; k < dim_; ++k, tile += kTile) {
      for (size_t part = 0; part < kParts; ++part) {
        Lanes column;
        std::memcpy(&column, tile + part * kLanes, sizeof column);
        for (size_t d = 0; d < Directions; ++d) sums[d][part] += column * directions[d][k];
      }
    }
    for (size_t d = 0; d < Directions; ++d) std::memcpy(outs[d] + start, sums[d], sizeof sums[d]);
  }
}

LARIX_SIMD void Candidates::along(const double* direction, double* out) const {
  pass<1>(&direction, &out);
}

LARIX_SIMD void Candidates::along(const double* first, const double* second, double* first_out,
                                  double* second_out) const {
  const double* const directions[] = {first, second};
  double* const outs[] = {first_out, second_out};
  pass<2>(directions, outs);
}

LARIX_SIMD void rotate(double cosine, double sine, size_t size, double* carried, double* kept) {
  for (size_t k = 0; k < size; ++k) {
    const double turned = cosine * kept[k] + sine * carried[k];
    carried[k] = cosine * carried[k] - sine * kept[k];
    kept[k] = turned;
  }
}

LARIX_SIMD void give_back(const double* share, size_t width, double* left) {
  for (size_t j = 0; j < width; ++j) left[j] += share[j] * share[j];
}

}  // namespace larix
