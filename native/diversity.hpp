// Which items a page shows, and in which order: greedy choices that weigh relevance against likeness to the items just
// before. The vectors count by their direction alone. Ties go to the item that was given first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.hpp"

namespace larix {

// A vector of length one whose squared length outside a span is no more than this lies in it: to divide by less would
// make the rounding of what is divided show in every later choice.
constexpr double kNothing = 1e-9;

// What there is to choose from: [count] and, row by row, [count, dim].
struct Items {
  const float* relevance;
  const float* vectors;
  size_t count;
  size_t dim;
};

// What is chosen, first to last: which item, and how much diversity added to its score. ``size``: at most Items::count.
struct Page {
  int64_t* items;
  double* diversity;
  size_t size;
};

// Each item is weighed against the ``window - 1`` before it (window: at least 1). Status: an item that is not finite, of
// which nothing can be said; the page is not touched then.

// Maximal marginal relevance: balance * relevance - (1 - balance) * the largest cosine in the window (0 of none).
Status mmr(const Items& items, double balance, size_t window, const Page& page);

// A determinantal point process: balance * relevance + (1 - balance) * log of the squared length outside the window's span.
// Items that lie in the span come after all others, by relevance; their share is minus infinity.
Status dpp(const Items& items, double balance, size_t window, const Page& page);

// Sliding spectrum decomposition: relevance + gamma * the volume that the item spans with the window.
Status ssd(const Items& items, double gamma, size_t window, const Page& page);

}  // namespace larix
