// Sliding spectrum decomposition (Huang et al., KDD 2021), its window's expiry exact.
//
// A candidate at length one, v, has the squared length 1 - |P v|^2 outside the span of the window, P being the projection onto
// it. When the oldest item leaves, the span shrinks by one direction or none: what is left of that item outside the span of
// the others. (Not what was left of it when it came: the items after it lean its way, too.) A candidate gets back what it has
// along that direction, then loses what it has along the direction that the newest item adds. Two dot products a candidate
// and step, whatever the window.
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

// Makes of the unit vector (or zeros) in ``vector`` a unit vector outside the span of ``rank`` orthonormal rows, by modified
// Gram-Schmidt; returns what its length was there, 0 if it lies in the span. A second round if the first took so much that
// its rounding shows: after it, none does (Giraud and others, 2005).
LARIX_SIMD double outside(const double* basis, size_t rank, double* vector, size_t dim) {
  double squares = dot(vector, vector, dim);
  for (int round = 0; round < 2; ++round) {
    const double before = squares;
    for (size_t row = 0; row < rank; ++row) {
      const double* along = basis + row * dim;
      const double share = dot(along, vector, dim);
      for (size_t k = 0; k < dim; ++k) vector[k] -= share * along[k];
    }
    squares = dot(vector, vector, dim);
    if (squares <= kNothing) return 0.0;
    if (squares > 0.5 * before) break;
  }
  const double length = std::sqrt(squares);
  for (size_t k = 0; k < dim; ++k) vector[k] /= length;
  return length;
}

// The items that a candidate is weighed against, in a ring, and an orthonormal basis of what they span.
class Window {
 public:
  Window(const Candidates& candidates, size_t size)
      : candidates_(candidates), ring_(size), basis_((size + 1) * candidates.dim()) {}

  bool full() const { return held_ == ring_.size(); }
  double volume() const { return volume_; }

  // Lets the oldest item go. The direction that only it spanned, or null.
  const double* expire() {
    rank_ = 0;
    volume_ = 1.0;
    --held_;
    for (size_t age = held_; age > 0; --age) span(ring_[(newest_ + ring_.size() - age + 1) % ring_.size()]);
    const double volume = volume_;
    const double* lost = span(ring_[(newest_ + 1) % ring_.size()]);
    rank_ -= lost != nullptr;
    volume_ = volume;
    return lost;
  }

  // Takes an item in, for which there must be room. The direction that it adds to the span, or null.
  const double* add(size_t item) {
    newest_ = (newest_ + 1) % ring_.size();
    ring_[newest_] = item;
    ++held_;
    return span(item);
  }

 private:
  const double* span(size_t item) {
    const size_t dim = candidates_.dim();
    double* direction = basis_.data() + rank_ * dim;
    candidates_.unit(item, direction);
    const double length = outside(basis_.data(), rank_, direction, dim);
    volume_ *= length;
    if (length == 0.0) return nullptr;
    ++rank_;
    return direction;
  }

  const Candidates& candidates_;
  std::vector<size_t> ring_;
  size_t held_ = 0;
  size_t newest_ = 0;
  std::vector<double> basis_;  // [rank, dim], and room for one more
  size_t rank_ = 0;
  double volume_ = 1.0;
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
    score(candidates.relevance(), left.data(), gamma * held.volume(), width, scores.data());
    const size_t item = candidates.take(scores.data());
    page.items[place] = static_cast<int64_t>(item);
    page.diversity[place] = gamma * held.volume() * std::sqrt(left[item] > kNothing ? left[item] : 0.0);
    if (window == 1 || place + 1 == page.size) continue;
    const double* before = held.full() ? held.expire() : nullptr;
    if (before != nullptr) std::copy_n(before, candidates.dim(), gone.begin());
    const double* after = held.add(item);
    if (before != nullptr && after != nullptr) {
      candidates.along(gone.data(), after, lost.data(), gained.data());
    } else if (before != nullptr) {
      candidates.along(gone.data(), lost.data());
    } else if (after != nullptr) {
      candidates.along(after, gained.data());
    }
    if (before != nullptr) give_back(lost.data(), width, left.data());
    if (after != nullptr) charge(gained.data(), width, left.data());
  }
  return {};
}

}  // namespace larix
