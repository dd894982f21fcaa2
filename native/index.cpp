// How a shard of the index grows: what its buckets hold is spread over more of them, from the last to the first.
#include "index.hpp"

#include <utility>

#include "simd.hpp"

namespace larix {

// Puts the entries of a bucket where they belong: into the kNear from ``near`` on, or, if they overflowed from before it, into
// ``at`` itself. Nothing foresees which, so there is no branch on it. ``fill`` tells how many cells of those are used, a byte
// each: to read it anew would wait for what was just written.
LARIX_INLINE void Shard::spread_out(const Bucket& from, uint32_t at, uint32_t near, uint64_t& fill) {
  constexpr uint32_t kBefore = kNear, kNowhere = kNear + 1;
  uint32_t to[Bucket::kCells];  // bits of ``fill``
  const uint64_t narrow = count_, wide = wider_;
  LARIX_COLUMNS
  for (unsigned cell = 0; cell < Bucket::kCells; ++cell) {
    const uint64_t tag = from.tags[cell];
    const uint32_t there = (tag * narrow >> 32) < at ? kBefore : static_cast<uint32_t>(tag * wide >> 32) - near;
    to[cell] = 8 * (from.rows[cell] == kNoRow ? kNowhere : there);
  }
  Bucket nowhere;
  Bucket* const into[] = {&bucket(near), &bucket(near + 1), &bucket(near + 2), &bucket(at), &nowhere};
  static_assert(kNear == 3);
  for (unsigned cell = 0; cell < Bucket::kCells; ++cell) {
    const uint64_t used = fill >> to[cell] & 0xF;
    if (used == Bucket::kCells) [[unlikely]] {
      place(from.tags[cell], from.rows[cell]);
      fill = fill_of(near, kNear) | fill_of(at, 1) << 8 * kBefore;
      continue;
    }
    Bucket& one = *into[to[cell] / 8];
    one.tags[used] = from.tags[cell];
    one.rows[used] = from.rows[cell];
    fill += uint64_t{1} << to[cell];
  }
  fill &= 0xFFFFFFFF;  // nowhere has room
}

LARIX_SIMD void Shard::move_up(uint64_t turns) {
  constexpr uint32_t kAhead = 16;
  const auto first_of = [this](uint32_t at) { return static_cast<uint32_t>(uint64_t{at} * wider_ / count_); };
  uint32_t near = 0;
  uint64_t fill = 0;
  for (; turns && wider_ != count_; --turns) {
    const uint32_t at = --frontier_, first = first_of(at), down = near - first;
    if (at >= kAhead) {
      const uint32_t later = first_of(at - kAhead);
      for (const uint32_t one : {at - kAhead, later, later + 1}) __builtin_prefetch(&bucket(one), 1);
    }
    const bool full = bucket(at).full();
    if (first < at + 2 || first + kNear >= provided_ || (full && bucket(at + 1).full())) {  // from where to where may cross
      clear(at, lift(at));
      for (const Cell& cell : lifted_) place(cell.tag, cell.row);
      near = 0;
    } else {
      if (down == 1 || down == 2) {
        fill = (fill << 8 * down | fill_of(first + down - 1, 1) << 8 * (down - 1) | fill_of(first, 1)) & 0xFFFFFF;
      } else {
        fill = fill_of(first, kNear);
      }
      near = first;
      const Bucket own = std::exchange(bucket(at), Bucket{}), over = full ? std::exchange(bucket(at + 1), Bucket{}) : Bucket{};
      spread_out(own, at, near, fill);
      if (full) spread_out(over, at, near, fill);
    }
    if (frontier_ == 0) count_ = frontier_ = wider_;
  }
}

}  // namespace larix
