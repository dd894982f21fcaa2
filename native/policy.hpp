// What eviction policies make of a row's header: the C++ twin of embedding/eviction.py and its oracle, bit for bit.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "rows.hpp"

namespace larix {

// Rows under ``spilled`` never go for good: those trained on longest ago go to disk first, where there is one.
enum class Keep { always = 0, recent = 1, score = 2, live = 3, spilled = 4 };

struct Policy {
  Keep keep = Keep::always;
  uint32_t pool = 0;  // tables of equal policy compete: they have one number
  float show = 0.0f;  // what a show without a click adds to a score, and what a click adds
  float click = 0.0f;
  float sequence = 1.0f;  // how much an occurrence in a sequence counts for, beside one elsewhere
  double age = 0.0;                  // ticks that a row lives unseen
  std::array<double, 32> fading{};  // what a score is multiplied by in 1, 2, 4, ... ticks

  static uint32_t elapsed(uint32_t now, uint32_t seen) { return seen < now ? now - seen : 0; }

  float faded(float score, uint32_t ticks) const {
    double factor = 1.0;
    for (; ticks; ticks &= ticks - 1) factor *= fading[static_cast<size_t>(std::countr_zero(ticks))];
    return static_cast<float>(static_cast<double>(score) * factor);
  }

  // What one occurrence adds to a row's score.
  float gain(float clicks, bool in_sequence) const {
    if (keep != Keep::score) return 0.0f;
    return ((1.0f - clicks) * show + clicks * click) * (in_sequence ? sequence : 1.0f);
  }

  // A row is trained on.
  void met(Header& header, uint32_t now, float gained) const {
    if (keep == Keep::score) header.score = faded(header.score, elapsed(now, header.seen)) + gained;
    header.seen = now;
  }

  // Whether an id may be refused a row for want of memory.
  bool refuses() const { return keep != Keep::always && keep != Keep::spilled; }

  // Rows of least priority go first.
  double priority(const Header& header, uint32_t now) const {
    return keep == Keep::score ? faded(header.score, elapsed(now, header.seen)) : header.seen;
  }

  bool over(const Header& header, uint32_t now) const {
    return keep == Keep::live && elapsed(now, header.seen) > age;
  }
};

}  // namespace larix
