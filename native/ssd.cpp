// Sliding spectrum decomposition (Huang et al., KDD 2021), its window's expiry exact.
//
// The window is a ring of items, each with the direction that it added to the span: modified Gram-Schmidt. A candidate at
// length one, v, has the squared length 1 - |P v|^2 outside the span, P being the projection onto it. When the oldest item
// leaves, the span shrinks by one direction or none; not by the one that came with that item, since the items after it lean
// that way, too. That direction is turned, by a rotation with each of the others, into one that no item left in the ring has
// any of. A candidate gets back what it has along it, then loses what it has along the direction that the newest item
// adds: two dot products a candidate and step, whatever the window.
#include <algorithm>

#include "candidates.hpp"

namespace larix {

namespace {

constexpr size_t kParts = 8;  // sums side by side, so that they can be vectorised

LARIX_INLINE double dot(const double* a, const double* b, size_t dim) {
  double sums[kParts] = {};
  size_t k = 0;
  for (; k + kParts <= dim; k += kParts) {
    for (size_t part = 0; part < kParts; ++part) sums[part] += a[k + part] * b[k + part];
  }
  double sum = 0.0;
  for (; k < dim; ++k) sum += a[k] * b[k];
  for (const double each : sums) sum += each;
  return sum;
}

LARIX_SIMD double project(const double* direction, size_t dim, double* vector) {
  const double share = dot(direction, vector, dim);
  for (size_t k = 0; k < dim; ++k) vector[k] -= share * direction[k];
  return share;
}

LARIX_SIMD double squared(const double* vector, size_t dim) { return dot(vector, vector, dim); }

// The items that a candidate is weighed against, in a ring.
class Window {
 public:
  Window(const Candidates& candidates, size_t size)
      : candidates_(candidates),
        dim_(candidates.dim()),
        size_(size),
        directions_(size * dim_),
        coordinates_(size * size),
        unit_(dim_) {}

  bool full() const { return held_ == size_; }

  // Of the items in the ring; 0 if one of them lies in the span of those before it.
  double volume() const {
    double volume = 1.0;
    for (size_t age = 0; age < held_; ++age) volume *= own(place(age));
    return volume;
  }

  // Lets the oldest item go. Writes the direction that only it spanned; false if there is none.
  bool expire(double* lost) {
    const size_t oldest = place(0);
    std::copy_n(direction(oldest), dim_, lost);
    double* carried = coordinates(oldest);
    for (size_t age = 1; age < held_; ++age) {
      const size_t at = place(age);
      const double leaning = carried[at], squares = own(at) * own(at) + leaning * leaning;
      if (squares <= kNothing) continue;  // of this item nothing is here but rounding
      const double length = std::sqrt(squares), cosine = own(at) / length, sine = leaning / length;
      rotate(cosine, sine, dim_, lost, direction(at));
      rotate(cosine, sine, size_, carried, coordinates(at));
    }
    oldest_ = place(1);
    --held_;
    return squared(lost, dim_) > 0.5;  // it has the length one or none
  }

  // Takes an item in, for which there must be room. The direction that it adds to the span, or null.
  const double* add(size_t item) {
    const size_t at = place(held_);
    candidates_.unit(item, unit_.data());
    for (size_t age = 0; age < held_; ++age) coordinates(place(age))[at] = 0.0;
    // Once more if the first round took so much that its rounding shows; after two, none does (Giraud and others, 2005).
    double before = 1.0, squares = squared(unit_.data(), dim_);
    for (int round = 0; round < 2 && squares > kNothing && (round == 0 || squares < 0.5 * before); ++round) {
      before = squares;
      for (size_t age = 0; age < held_; ++age) {
        coordinates(place(age))[at] += project(direction(place(age)), dim_, unit_.data());
      }
      squares = squared(unit_.data(), dim_);
    }
    const bool adds = squares > kNothing;
    const double length = adds ? std::sqrt(squares) : 0.0;
    std::fill_n(coordinates(at), size_, 0.0);
    coordinates(at)[at] = length;
    for (size_t k = 0; k < dim_; ++k) direction(at)[k] = adds ? unit_[k] / length : 0.0;
    ++held_;
    return adds ? direction(at) : nullptr;
  }

 private:
  size_t place(size_t age) const { return (oldest_ + age) % size_; }
  double* direction(size_t at) { return directions_.data() + at * dim_; }
  // Of every item in the ring, how far it reaches along the direction at ``at``.
  double* coordinates(size_t at) { return coordinates_.data() + at * size_; }
  double own(size_t at) const { return coordinates_[at * size_ + at]; }

  const Candidates& candidates_;
  const size_t dim_;
  const size_t size_;
  size_t held_ = 0;
  size_t oldest_ = 0;
  std::vector<double> directions_;   // [size, dim], zeros for an item that adds none
  std::vector<double> coordinates_;  // [size, size]
  std::vector<double> unit_;
};

LARIX_SIMD void score(const double* relevance, const double* left, double weight, size_t width, double* out) {
  for (size_t j = 0; j < width; ++j) {
    out[j] = relevance[j] + weight * std::sqrt(left[j] > kNothing ? left[j] : 0.0);
  }
}

LARIX_SIMD void charge(const double* share, size_t width, double* left) {
  for (size_t j = 0; j < width; ++j) left[j] -= share[j] * share[j];
}

}  // namespace

Status ssd(const Items& items, double gamma, size_t window, const Page& page) {
  Candidates candidates;
  if (Status read = candidates.read(items); !read.ok()) return read;
  const size_t width = candidates.width();
  std::vector<double> left(width), scores(width), gained(width), lost(width), gone(candidates.dim());
  candidates.whole(left.data());
  Window held(candidates, std::min(window, page.size) - (page.size > 0));
  for (size_t place = 0; place < page.size; ++place) {
    const double weight = gamma * held.volume();
    score(candidates.relevance(), left.data(), weight, width, scores.data());
    const size_t item = candidates.take(scores.data());
    page.items[place] = static_cast<int64_t>(item);
    page.diversity[place] = weight * std::sqrt(left[item] > kNothing ? left[item] : 0.0);
    if (window == 1 || place + 1 == page.size) continue;
    const bool gives = held.full() && held.expire(gone.data());
    const double* added = held.add(item);
    if (gives && added != nullptr) {
      candidates.along(gone.data(), added, lost.data(), gained.data());
    } else if (gives) {
      candidates.along(gone.data(), lost.data());
    } else if (added != nullptr) {
      candidates.along(added, gained.data());
    }
    if (gives) give_back(lost.data(), width, left.data());
    if (added != nullptr) charge(gained.data(), width, left.data());
  }
  return {};
}

}  // namespace larix
