// Which ids get a row: an aged count-min sketch, or lots. The C++ twin of embedding/reference/admit.py, bit for bit.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "hash.hpp"
#include "memory.hpp"

namespace larix {

// Counts of ids of one table, each at most 15: blocks of 128 counters of four bits, of which an id has four. A block has
// one writer at a time.
class Sketch {
 public:
  Sketch(size_t blocks, uint64_t key, uint64_t window)
      : cells_(blocks * kBlock), blocks_(blocks), key_(key ^ 0xA0761D6478BD642Full), window_(window) {}

  // An id's place: the block by the high bits of a hash, a counter in each quarter of it by the low ones.
  struct Place {
    uint8_t* block;
    uint64_t hash;
  };
  Place place(int64_t id) const {
    const uint64_t hash = mix(mix(static_cast<uint64_t>(id)) ^ key_);
    return {reinterpret_cast<uint8_t*>(cells_.data()) + block_of(hash) * kBlock, hash};
  }
  void prefetch(int64_t id) const { __builtin_prefetch(place(id).block, 1); }

  // The one of ``threads`` that writes the blocks of an id.
  unsigned owner(int64_t id, unsigned threads) const {
    return static_cast<unsigned>(block_of(mix(mix(static_cast<uint64_t>(id)) ^ key_)) * threads / blocks_);
  }

  void add(int64_t id) {
    const Place at = place(id);
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      auto [cell, shift] = counter(at, quarter);
      if ((*cell >> shift & 15) < 15) *cell = static_cast<uint8_t>(*cell + (1 << shift));
    }
  }

  unsigned estimate(int64_t id) const {
    const Place at = place(id);
    unsigned least = 15;
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      const auto [cell, shift] = counter(at, quarter);
      least = std::min(least, unsigned{*cell} >> shift & 15u);
    }
    return least;
  }

  // At the end of a call that added so many: halves all counters if the window is over.
  void age(uint64_t added) {
    added_ += added;
    if (added_ <= window_) return;
    added_ = 0;
    auto* words = reinterpret_cast<uint64_t*>(cells_.data());
    for (size_t at = 0; at < blocks_ * kBlock / sizeof(uint64_t); ++at) {
      words[at] = words[at] >> 1 & 0x7777777777777777ull;
    }
  }

  size_t bytes() const { return blocks_ * kBlock; }

 private:
  static constexpr size_t kBlock = 64;

  size_t block_of(uint64_t hash) const { return static_cast<size_t>((hash >> 32) * blocks_ >> 32); }
  static std::pair<uint8_t*, unsigned> counter(const Place& at, unsigned quarter) {
    const auto inside = static_cast<unsigned>(at.hash >> 5 * quarter & 31);
    return {at.block + quarter * 16 + inside / 2, inside % 2 * 4};
  }

  Block cells_;
  size_t blocks_;
  uint64_t key_;
  uint64_t window_;
  uint64_t added_ = 0;
};

struct Admission {
  enum class Kind { all = 0, count = 1, chance = 2 };

  Kind kind = Kind::all;
  uint64_t key = 0;    // hash of seed and table
  unsigned least = 0;  // count from which an id is admitted
  uint64_t bound = 0;  // draw of 53 bits below which it is
  std::unique_ptr<Sketch> sketch;

  // ``call``: the number of the training call. Of an id that was counted in it.
  bool admits(int64_t id, uint64_t call) const {
    switch (kind) {
      case Kind::all: return true;
      case Kind::count: return sketch->estimate(id) >= least;
      case Kind::chance: {
        const uint64_t start = mix(static_cast<uint64_t>(id)) ^ key ^ 0xE7037ED1A0B428DBull;
        return mix(mix(start) + call) >> 11 < bound;
      }
    }
    return true;
  }
};

}  // namespace larix
