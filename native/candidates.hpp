// The items that are left for a page, their vectors laid out for passes over all of them at once.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "diversity.hpp"
#include "simd.hpp"

namespace larix {

class Candidates {
 public:
  // Reads everything; not ok if something is not finite.
  Status read(const Items& items);

  size_t dim() const { return dim_; }
  // How long every array of a number an item is: the items, and padding that is never taken.
  size_t width() const { return relevance_.size(); }
  // An item's relevance until it is taken, minus infinity after.
  const double* relevance() const { return relevance_.data(); }
  // Writes an item's vector at length one, or zeros if it has no length.
  void unit(size_t item, double* out) const;
  // out[j] = 1 if item j has a length, 0 if not: its squared length outside the span of nothing.
  void whole(double* out) const;

  // Takes the first item of the highest score, one at least of which is above minus infinity; the scores of those that were
  // taken before are not.
  size_t take(const double* scores);

  // out[j] = the dot product of item j at length one with ``direction``, for every item. Sums in
  // the order of columns, in 64 bits, the same way for each: equal vectors give equal numbers.
  void along(const double* direction, double* out) const;
  // Both of two directions in one pass.
  void along(const double* first, const double* second, double* first_out, double* second_out) const;

 private:
  static constexpr size_t kTile = 32;  // items side by side: [tiles][dim][kTile]

  size_t scaled(const float* vectors, size_t rows, double* tile) const;
  template <size_t Directions>
  LARIX_INLINE void pass(const double* const* directions, double* const* outs) const;

  size_t dim_ = 0;
  std::vector<double> tiles_;
  std::vector<double> relevance_;
};

constexpr double kTaken = -std::numeric_limits<double>::infinity();

// Turns two directions, or what many items have along them, into two others of the same span: Givens.
void rotate(double cosine, double sine, size_t size, double* carried, double* kept);

// left[j] += share[j]^2: of squared lengths outside a span, what a direction took that is no longer in it.
void give_back(const double* share, size_t width, double* left);

}  // namespace larix
