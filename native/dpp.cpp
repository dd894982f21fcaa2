// Fast greedy maximum a posteriori of a determinantal point process (Chen, Zhang and Zhou, NeurIPS 2018).
//
// With C the Cholesky factor of the window's Gram matrix, item j has coordinates c_j, C c_j being its cosines with the window's
// items, and 1 - |c_j|^2 left outside their span. Those of the window's own items are the rows of C. An item that comes adds a
// coordinate to all. When the oldest goes, its coordinate is turned, by a rotation with each of the others, into one that no
// item left in the window has any of; that one is given back.
#include <algorithm>

#include "candidates.hpp"

namespace larix {

namespace {

LARIX_SIMD void subtract(double factor, const double* from, size_t width, double* out) {
  for (size_t j = 0; j < width; ++j) out[j] -= factor * from[j];
}

// Makes a coordinate of what is not yet explained of the cosines, and takes it off what is left.
LARIX_SIMD void finish(double length, size_t width, double* coordinate, double* left) {
  for (size_t j = 0; j < width; ++j) {
    coordinate[j] /= length;
    left[j] -= coordinate[j] * coordinate[j];
  }
}

class Cholesky {
 public:
  Cholesky(const Candidates& candidates, size_t size)
      : candidates_(candidates),
        ring_(size),
        coordinates_(size * candidates.width()),
        unit_(candidates.dim()),
        left_(candidates.width()) {
    candidates.whole(left_.data());
  }

  // Of every item, its squared length outside the window's span.
  const double* left() const { return left_.data(); }

  void add(size_t item) {
    if (ring_.empty()) return;
    if (held_ == ring_.size()) expire();
    double* coordinate = row(held_);
    ring_[(oldest_ + held_) % ring_.size()] = item;
    if (left_[item] > kNothing) {
      const double length = std::sqrt(left_[item]);
      candidates_.unit(item, unit_.data());
      candidates_.along(unit_.data(), coordinate);
      for (size_t age = 0; age < held_; ++age) subtract(row(age)[item], row(age), left_.size(), coordinate);
      finish(length, left_.size(), coordinate, left_.data());
    } else {
      std::fill_n(coordinate, left_.size(), 0.0);  // it lies in the span: no direction is its own
    }
    ++held_;
  }

 private:
  // Of every item, the coordinate that came with the window's ``age``-th oldest.
  double* row(size_t age) { return coordinates_.data() + (oldest_ + age) % ring_.size() * left_.size(); }

  void expire() {
    double* carried = row(0);
    for (size_t age = 1; age < held_; ++age) {
      const size_t item = ring_[(oldest_ + age) % ring_.size()];
      const double own = row(age)[item], leaning = carried[item];
      const double squares = own * own + leaning * leaning;
      if (squares <= kNothing) continue;  // of this item nothing is here but rounding
      const double length = std::sqrt(squares);
      rotate(own / length, leaning / length, left_.size(), carried, row(age));
    }
    give_back(carried, left_.size(), left_.data());
    oldest_ = (oldest_ + 1) % ring_.size();
    --held_;
  }

  const Candidates& candidates_;
  std::vector<size_t> ring_;
  size_t held_ = 0;
  size_t oldest_ = 0;
  std::vector<double> coordinates_;  // [places in the ring, items]
  std::vector<double> unit_;
  std::vector<double> left_;
};

}  // namespace

Status dpp(const Items& items, double balance, size_t window, const Page& page) {
  Candidates candidates;
  if (Status read = candidates.read(items); !read.ok()) return read;
  std::vector<double> scores(candidates.width());
  Cholesky held(candidates, std::min(window, page.size) - (page.size > 0));
  for (size_t place = 0; place < page.size; ++place) {
    const double* relevance = candidates.relevance();
    const double* left = held.left();
    bool outside = false;
    for (size_t j = 0; j < scores.size(); ++j) {
      const bool may = left[j] > kNothing && relevance[j] != kTaken;
      scores[j] = may ? balance * relevance[j] + (1.0 - balance) * std::log(left[j]) : kTaken;
      outside |= may;
    }
    const size_t item = candidates.take(outside ? scores.data() : relevance);
    page.items[place] = static_cast<int64_t>(item);
    page.diversity[place] = outside ? (1.0 - balance) * std::log(left[item]) : kTaken;
    if (place + 1 < page.size) held.add(item);
  }
  return {};
}

}  // namespace larix
