// Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).
#include <algorithm>

#include "candidates.hpp"

namespace larix {

namespace {

LARIX_SIMD void lift(const double* cosines, size_t width, double* likest) {
  for (size_t j = 0; j < width; ++j) likest[j] = cosines[j] > likest[j] ? cosines[j] : likest[j];
}

LARIX_SIMD void score(const double* relevance, const double* likest, double balance, size_t width, double* out) {
  for (size_t j = 0; j < width; ++j) {
    const double value = balance * relevance[j] - (1.0 - balance) * likest[j];
    out[j] = relevance[j] == kTaken ? kTaken : value;
  }
}

}  // namespace

Status mmr(const Items& items, double balance, size_t window, const Page& page) {
  Candidates candidates;
  if (Status read = candidates.read(items); !read.ok()) return read;
  const size_t width = candidates.width();
  // What leaves a window may have been the likest, so all that are in it are kept; of a whole page, none.
  const size_t ring = window < page.size ? window - 1 : 1;
  std::vector<double> cosines(ring * width), likest(width), scores(width), unit(candidates.dim());
  for (size_t place = 0; place < page.size; ++place) {
    score(candidates.relevance(), likest.data(), balance, width, scores.data());
    const size_t item = candidates.take(scores.data());
    page.items[place] = static_cast<int64_t>(item);
    page.diversity[place] = 0.0 - (1.0 - balance) * likest[item];
    if (ring == 0) continue;
    candidates.unit(item, unit.data());
    candidates.along(unit.data(), cosines.data() + place % ring * width);
    if (place == 0 || window < page.size) std::copy_n(cosines.data(), width, likest.data());
    for (size_t row = 0; row < std::min(place + 1, ring); ++row) {
      lift(cosines.data() + row * width, width, likest.data());
    }
  }
  return {};
}

}  // namespace larix
