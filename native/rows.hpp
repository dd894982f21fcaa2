// Where rows lie: header, weights and optimizer state of one row together, in slabs that never move.
//
// A row number is given out again after its row is gone; the generation in the header tells the two apart.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "index.hpp"
#include "memory.hpp"
#include "simd.hpp"

namespace larix {

struct Header {
  int64_t id;           // of a free row: the next free one
  uint16_t table;       // 0: free
  uint16_t generation;  // how often the row number was freed, modulo 65536
  uint32_t changed;     // the store's sequence number when the row was last changed
  uint32_t seen;        // the store's clock when the row was last trained on
  float score;          // what an eviction policy keeps
};
static_assert(sizeof(Header) == 24);

class Rows {
 public:
  static constexpr uint32_t kExtent = 64;  // rows that a shard takes at a time
  static constexpr uint32_t kMarked = 16;  // rows that share a mark of when they changed

  // ``bytes``: of weights and state of a row.
  explicit Rows(size_t bytes) : stride_((sizeof(Header) + bytes + 7) / 8 * 8) {
    slack_ = stride_ % 32 == 0 ? 32 : 0;  // such a row begins at the start of a cache line or at its middle
    asked_ = (stride_ < 512 ? stride_ : 512) - slack_;  // the hardware follows longer rows by itself
    while ((stride_ << (bits_ + 1)) <= kSlab) ++bits_;
    slabs_ = Block(((size_t{1} << 32) >> bits_) * sizeof(char*));
  }

  char* at(uint32_t row) const {
    return reinterpret_cast<char**>(slabs_.data())[row >> bits_] + (row & ((uint32_t{1} << bits_) - 1)) * stride_;
  }
  Header& header(uint32_t row) const { return *reinterpret_cast<Header*>(at(row)); }

  LARIX_INLINE void prefetch(uint32_t row) const {
    const char* first = at(row);
    for (size_t offset = 0; offset < asked_; offset += 64) __builtin_prefetch(first + offset, 1);
    __builtin_prefetch(first + asked_ + slack_ - 1, 1);
  }

  // Into the second cache only: few lines can be under way to the first at a time, and waiting for a place among them
  // costs more than fetching from the second later.
  LARIX_INLINE void prefetch_far(uint32_t row) const {
    const char* first = at(row);
    for (size_t offset = 0; offset < asked_; offset += 64) __builtin_prefetch(first + offset, 0, 2);
    __builtin_prefetch(first + asked_ + slack_ - 1, 0, 2);
  }

  // A row for ``shard``, whose single writer calls this. The header's generation is as it was left.
  uint32_t take(uint32_t shard) {
    Supply& supply = supplies_[shard];
    if (supply.free != kNoRow) {
      const uint32_t row = supply.free;
      supply.free = static_cast<uint32_t>(header(row).id);
      return row;
    }
    if (supply.next == supply.end) {
      supply.next = extent();
      supply.end = supply.next + kExtent;
      if (supply.next == kNoRow) ++supply.next;
    }
    if (supply.next + 2 < supply.end) prefetch(supply.next + 2);  // 32 shards write in turn: no one else foresees it
    return supply.next++;
  }

  void give_back(uint32_t shard, uint32_t row) {
    Header& freed = header(row);
    freed = Header{.id = supplies_[shard].free, .table = 0, .generation = static_cast<uint16_t>(freed.generation + 1),
                   .changed = freed.changed, .seen = 0, .score = 0.0f};
    supplies_[shard].free = row;
  }

  size_t stride() const { return stride_; }
  size_t high() const { return high_; }  // rows ever given out: no row has this number or a higher one
  size_t bytes() const { return high_ * stride_ + high_ / kMarked * sizeof(uint32_t); }

  // How many rows lie one behind the other from ``row`` on.
  size_t run(uint32_t row) const { return slab_rows() - (row & (slab_rows() - 1)); }

  // Notes that a row of the block of kMarked rows that ``row`` is in changed in ``sequence``, the newest. Of any thread.
  void mark(uint32_t row, uint32_t sequence) {
    std::atomic_ref(mark_of(row)).store(sequence, std::memory_order_relaxed);
  }
  uint32_t marked(uint32_t row) const { return mark_of(row); }

 private:
  static constexpr size_t kSlab = size_t{32} << 20;

  uint32_t slab_rows() const { return uint32_t{1} << bits_; }
  // A slab's marks come after its rows; as long as nothing is marked they take no memory.
  uint32_t& mark_of(uint32_t row) const {
    char* slab = reinterpret_cast<char**>(slabs_.data())[row >> bits_];
    return reinterpret_cast<uint32_t*>(slab + (stride_ << bits_))[(row & (slab_rows() - 1)) / kMarked];
  }

  struct alignas(64) Supply {
    uint32_t next = 0;
    uint32_t end = 0;
    uint32_t free = kNoRow;
  };

  uint32_t extent() {
    const std::lock_guard lock(growing_);
    if (high_ + kExtent > size_t{1} << 32) throw std::length_error("more than four billion rows of one kind");
    const size_t slab = high_ >> bits_;
    if (slab == owned_.size()) {
      owned_.emplace_back((stride_ << bits_) + slab_rows() / kMarked * sizeof(uint32_t));
      reinterpret_cast<char**>(slabs_.data())[slab] = owned_.back().data();
    }
    const auto first = static_cast<uint32_t>(high_);
    high_ += kExtent;
    return first;
  }

  size_t stride_;
  size_t slack_;
  size_t asked_;  // bytes of a row that are asked for, less the slack
  uint32_t bits_ = 6;  // a slab holds 2 ** bits_ rows, at least one extent
  Block slabs_;        // the address of every slab that could ever be: readers need no lock
  std::vector<Block> owned_;
  size_t high_ = 0;  // rows ever given out
  std::array<Supply, Index::kShards> supplies_;
  std::mutex growing_;
};

}  // namespace larix
