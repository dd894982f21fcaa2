// Where a replica's rows lie: encoded weights and nothing else, in slabs that never move; beside them, if asked for, a byte
// a row that says how much it has been used.
//
// A row is written before the index shows it, and not again before all who could have seen it have left.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "memory.hpp"
#include "simd.hpp"

namespace larix {

class ReplicaRows {
 public:
  // ``stride``: bytes of a row, a multiple of 4.
  explicit ReplicaRows(size_t stride, bool counted = false) : stride_(stride), counted_(counted) {
    while ((stride_ << (bits_ + 1)) <= kSlab) ++bits_;
    slabs_ = Block((kMost >> bits_) * sizeof(char*), Pages::small);
  }

  char* at(uint32_t row) const { return slab(row) + (row & mask()) * stride_; }

  // Uses of a row, up to 255, if they are counted. Readers add to them at any time, so that some are lost.
  std::atomic_ref<uint8_t> uses(uint32_t row) const { return std::atomic_ref(*uses_at(row)); }
  uint8_t* uses_at(uint32_t row) const {
    return reinterpret_cast<uint8_t*>(slab(row) + (stride_ << bits_)) + (row & mask());
  }

  // Calls visit(uses) for every place there is, those of no row included: they have none.
  template <class Visit>
  void each_uses(const Visit& visit) const {
    for (size_t row = 1; row < next_; ++row) visit(uses(static_cast<uint32_t>(row)));
  }

  // Asks for a row, into the second cache: few lines can be under way to the first.
  LARIX_INLINE static void prefetch(const char* row, size_t bytes) {
    for (size_t offset = 0; offset < bytes; offset += 64) __builtin_prefetch(row + offset, 0, 2);
    if (bytes % 64) __builtin_prefetch(row + bytes - 1, 0, 2);  // others begin and end with a line
  }

  // A row to be written, by the one writer. Never row 0. May throw.
  uint32_t take() {
    if (free_ != 0) {
      const uint32_t row = free_;
      std::memcpy(&free_, at(row), sizeof(free_));
      return row;
    }
    if (next_ == kMost) throw std::length_error("more than two billion rows of one dim");
    const size_t slab = next_ >> bits_;
    if (slab == owned_.size()) {
      owned_.emplace_back((stride_ + counted_) << bits_);
      reinterpret_cast<char**>(slabs_.data())[slab] = owned_.back().data();
    }
    bytes_.store(next_ * (stride_ + counted_), std::memory_order_relaxed);
    return static_cast<uint32_t>(next_++);
  }

  void give_back(uint32_t row) {
    std::memcpy(at(row), &free_, sizeof(free_));  // a list of free rows in the rows themselves
    if (counted_) uses(row).store(0, std::memory_order_relaxed);
    free_ = row;
  }

  size_t stride() const { return stride_; }
  // Memory ever used.
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  static constexpr size_t kMost = size_t{1} << 31;  // rows

 private:
  static constexpr size_t kSlab = size_t{32} << 20;

  char* slab(uint32_t row) const { return reinterpret_cast<char**>(slabs_.data())[row >> bits_]; }
  uint32_t mask() const { return (uint32_t{1} << bits_) - 1; }

  size_t stride_;
  size_t counted_;  // bytes a row
  unsigned bits_ = 6;  // a slab holds 2 ** bits_ rows
  Block slabs_;        // the address of every slab that could ever be
  std::vector<Block> owned_;
  size_t next_ = 1;  // row never given out
  uint32_t free_ = 0;
  std::atomic<size_t> bytes_{0};
};

}  // namespace larix
