// Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).
#include <algorithm>

#include "candidates.hpp"

namespace larix {

namespace {

// likest[j] = the largest of ``rows`` cosines of item j.
LARIX_SIMD void largest(const double* cosines, size_t rows, size_t width, double* likest) {
  std::copy_n(cosines, width, likest);
  for (size_t row = 1; row < rows; ++row) {
    const double* from = cosines + row * width;
    for (size_t j = 0; j < width; ++j) likest[j] = from[j] > likest[j] ? from[j] : likest[j];
  }
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
  const size_t ring = std::min(window, page.size) - (page.size > 0);
  std::vector<double> cosines(ring * width), likest(width), scores(width), unit(candidates.dim());
  for (size_t place = 0; place < page.size; ++place) {
    score(candidates.relevance(), likest.data(), balance, width, scores.data());
    const size_t item = candidates.take(scores.data());
    page.items[place] = static_cast<int64_t>(item);
    page.diversity[place] = 0.0 - (1.0 - balance) * likest[item];
    if (ring == 0) continue;
    candidates.unit(item, unit.data());
    candidates.along(unit.data(), cosines.data() + place % ring * width);
    largest(cosines.data(), std::min(place + 1, ring), width, likest.data());
  }
  return {};
}

}  // namespace larix
