// Where a replica's rows lie: encoded weights and nothing else, in slabs that never move.
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
  explicit ReplicaRows(size_t stride) : stride_(stride) {
    while ((stride_ << (bits_ + 1)) <= kSlab) ++bits_;
    slabs_ = Block(((size_t{1} << 32) >> bits_) * sizeof(char*), Pages::small);
  }

  char* at(uint32_t row) const {
    return reinterpret_cast<char**>(slabs_.data())[row >> bits_] + (row & ((uint32_t{1} << bits_) - 1)) * stride_;
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
    if (next_ >> 32) throw std::length_error("more than four billion rows of one dim");
    const size_t slab = next_ >> bits_;
    if (slab == owned_.size()) {
      owned_.emplace_back(stride_ << bits_);
      reinterpret_cast<char**>(slabs_.data())[slab] = owned_.back().data();
    }
    bytes_.store(next_ * stride_, std::memory_order_relaxed);
    return static_cast<uint32_t>(next_++);
  }

  void give_back(uint32_t row) {
    std::memcpy(at(row), &free_, sizeof(free_));  // a list of free rows in the rows themselves
    free_ = row;
  }

  size_t stride() const { return stride_; }
  // Memory ever used.
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kSlab = size_t{32} << 20;

  size_t stride_;
  unsigned bits_ = 6;  // a slab holds 2 ** bits_ rows
  Block slabs_;        // the address of every slab that could ever be
  std::vector<Block> owned_;
  size_t next_ = 1;  // row never given out
  uint32_t free_ = 0;
  std::atomic<size_t> bytes_{0};
};

}  // namespace larix
