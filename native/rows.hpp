// Where rows lie: header, weights and optimizer state of one row together, in slabs that never move.
//
// A row number is given out again after its row is gone; the generation in the header tells the two apart. The end of the
// slabs can be given back to the system once no row lives there: see vacate.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "index.hpp"
#include "ledger.hpp"
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
  static constexpr uint32_t kMarked = 16;      // rows that share a mark of when they changed
  static constexpr size_t kFirstRows = 65536;  // that an index has room for from the beginning
  static constexpr size_t kIndexShare = 14;    // most bytes of an index a row: 8 / 0.8, and then it grows by three eighths

  // ``bytes``: of weights and state of a row. ``ledger``: what memory is taken from, with that of ``index``, which finds them.
  Rows(size_t bytes, Ledger& ledger, const Index& index)
      : stride_((sizeof(Header) + bytes + 7) / 8 * 8), paid_(index.bytes()), ledger_(ledger), index_(index) {
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
    __builtin_prefetch(first, 0, 2);
    for (size_t offset = 64; offset < asked_; offset += 64) __builtin_prefetch(first + offset, 0, 2);
    __builtin_prefetch(first + asked_ + slack_ - 1, 0, 2);
  }

  // A row for ``shard``, whose single writer calls this; kNoRow if the ledger has no more memory. The header's generation
  // is as it was left.
  uint32_t take(uint32_t shard) {
    Supply& supply = supplies_[shard];
    if (const uint32_t row = reuse(supply); row != kNoRow) return row;
    if (supply.next == supply.end && !extend(supply)) return kNoRow;
    ++supply.live;
    if (supply.next + 2 < supply.end) prefetch(supply.next + 2);  // 32 shards write in turn: no one else foresees it
    if (first_generation_ != 0) header(supply.next).generation = first_generation_;
    return supply.next++;
  }

  // A row of any shard's supply, no new memory taken; kNoRow if there is none. One thread at a time, like all below.
  uint32_t take_any(uint32_t shard) {
    for (uint32_t turn = 0; turn < supplies_.size(); ++turn) {
      const uint32_t from = (shard + turn) % supplies_.size();
      const uint32_t row = supplies_[from].next == supplies_[from].end ? reuse(supplies_[from]) : take(from);
      if (row != kNoRow) return row;
    }
    return kNoRow;
  }

  // ``shard``: of the row's entry. Beyond the floor a row is gone for good, or until cut_off.
  void give_back(uint32_t shard, uint32_t row) {
    Supply& supply = supplies_[shard];
    Header& freed = header(row);
    freed = Header{.id = row < floor_ ? supply.free : kNoRow, .table = 0,
                   .generation = static_cast<uint16_t>(freed.generation + 1), .changed = freed.changed, .seen = 0,
                   .score = 0.0f};
    --supply.live;
    if (row < floor_) supply.free = row;
  }

  // Rows that could be had without new memory.
  size_t spare() const {
    size_t live = 1;  // kNoRow
    for (const Supply& supply : supplies_) live += static_cast<size_t>(supply.live);
    return high_ > live ? high_ - live : 0;
  }

  // From now on no row from ``floor`` on (a multiple of kExtent) is given out, so that those that live there can be moved;
  // then forget for every shard, then cut_off.
  void vacate(uint32_t floor) {
    floor_ = floor;
    for (Supply& supply : supplies_) {
      if (supply.next >= floor) supply.next = supply.end = 0;
    }
  }

  // Takes what lies beyond the floor out of a shard's supply.
  void forget(uint32_t shard) {
    std::vector<uint32_t> kept;
    for (uint32_t row; (row = reuse(supplies_[shard])) != kNoRow;) kept.push_back(row);
    for (auto row = kept.rbegin(); row != kept.rend(); ++row) {
      header(*row).id = std::exchange(supplies_[shard].free, *row);
      --supplies_[shard].live;
    }
  }

  // No row lives from ``end`` on, a multiple of kExtent not below the floor: its memory goes back. What is free before it is
  // given out again.
  void cut_off(uint32_t end) {
    for (uint32_t row = floor_; row < end; ++row) {
      if (header(row).table == 0) header(row).id = std::exchange(supplies_[row % supplies_.size()].free, row);
    }
    for (size_t row = end; row < high_; ++row) {
      first_generation_ = std::max(first_generation_, header(static_cast<uint32_t>(row)).generation);
    }
    ++first_generation_;
    for (size_t slab = end >> bits_; slab < owned_.size(); ++slab) {
      const size_t first = slab << bits_, last = std::min(high_, first + (size_t{1} << bits_));
      const size_t begin = std::max<size_t>(end, first);
      if (begin < last) owned_[slab].discard(stamps() + (begin - first) * stride_, stamps() + (last - first) * stride_);
    }
    ledger_.give((high_ - end) * row_bytes());  // pages of the index stay, and stay paid for
    high_ = end;
    floor_ = kNoFloor;
  }

  // A byte beside a row, for whoever wants to know when it was last looked up; of threads that write it at once any wins.
  std::atomic_ref<uint8_t> stamp(uint32_t row) const {
    const uint32_t inside = row & ((uint32_t{1} << bits_) - 1);
    return std::atomic_ref(reinterpret_cast<uint8_t&>(*(at(row - inside) - (uint32_t{1} << bits_) + inside)));
  }

  // Bytes of the index that are not paid yet: whoever next takes memory for rows pays them.
  size_t unpaid() const { return index_.bytes() > paid_ ? index_.bytes() - paid_ : 0; }

  // Row numbers given out so far are below this.
  size_t high() const { return high_; }
  size_t cost() const { return row_bytes() + kIndexShare; }
  size_t row_bytes() const { return stride_ + 2; }  // with its stamp and its part of a mark
  size_t stride() const { return stride_; }
  size_t bytes() const { return high_ * row_bytes(); }

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
    int64_t live = 0;
  };

  static constexpr uint32_t kNoFloor = ~uint32_t{0};

  size_t stamps() const { return size_t{1} << bits_; }  // bytes before the rows of a slab, one of each

  uint32_t reuse(Supply& supply) {
    while (supply.free != kNoRow) {
      const uint32_t row = supply.free;
      supply.free = static_cast<uint32_t>(header(row).id);
      if (row >= floor_) continue;
      ++supply.live;
      return row;
    }
    return kNoRow;
  }

  bool extend(Supply& supply) {
    const std::lock_guard lock(growing_);
    if (high_ + kExtent > size_t{1} << 32) throw std::length_error("more than four billion rows of one kind");
    if (floor_ != kNoFloor) return false;
    // An index grows in chunks, so that a shard may be ahead of the shares of its rows: then that is what is due.
    const bool further = high_ + kExtent > indexed_;
    const size_t due = std::max(paid_ + (further ? kExtent * kIndexShare : 0), index_.bytes());
    if (!ledger_.take(kExtent * row_bytes() + due - paid_)) return false;
    paid_ = due;
    if (further) indexed_ += kExtent;
    const size_t slab = high_ >> bits_;
    if (slab == owned_.size()) {
      owned_.emplace_back(stamps() + (stride_ << bits_) + slab_rows() / kMarked * sizeof(uint32_t));
      reinterpret_cast<char**>(slabs_.data())[slab] = owned_.back().data() + stamps();
    }
    supply.next = static_cast<uint32_t>(high_);
    high_ += kExtent;
    supply.end = static_cast<uint32_t>(high_);
    if (supply.next == kNoRow) ++supply.next;
    return true;
  }

  size_t stride_;
  size_t slack_;
  size_t asked_;  // bytes of a row that are asked for, less the slack
  uint32_t bits_ = 6;  // a slab holds 2 ** bits_ rows, at least one extent
  Block slabs_;        // the address of every slab that could ever be: readers need no lock
  std::vector<Block> owned_;
  size_t high_ = 0;  // rows given out and not cut off
  size_t indexed_ = kFirstRows;  // rows whose share of the index is paid
  size_t paid_;                  // bytes of the index that are
  uint32_t floor_ = kNoFloor;
  uint16_t first_generation_ = 0;  // of rows in new memory: handles from before it was cut off must not fit
  Ledger& ledger_;
  const Index& index_;
  std::array<Supply, Index::kShards> supplies_;
  std::mutex growing_;
};

}  // namespace larix
