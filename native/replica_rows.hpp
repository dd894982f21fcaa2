// Where a replica's rows lie: encoded weights and nothing else, in slabs that never move; beside them, if asked for, a byte
// a row that says how much it has been used.
//
// A row is written before the index shows it, and not again before all who could have seen it have left. One in an image never
// is: what steps in its place lies in memory of this process, and its own place stays as it is.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "memory.hpp"
#include "replica_image.hpp"
#include "simd.hpp"
#include "status.hpp"

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
    if (slab == (first_ >> bits_) + owned_.size()) {
      owned_.emplace_back((stride_ + counted_) << bits_);
      place(slab, owned_.back().data());
    }
    bytes_.store((next_ + 1 - first_) * (stride_ + counted_), std::memory_order_relaxed);
    return static_cast<uint32_t>(next_++);
  }

  void give_back(uint32_t row) {
    if (row < first_) return;
    std::memcpy(at(row), &free_, sizeof(free_));  // a list of free rows in the rows themselves
    if (counted_) uses(row).store(0, std::memory_order_relaxed);
    free_ = row;
  }

  size_t stride() const { return stride_; }
  // Memory ever used, without the image.
  size_t bytes() const {
    size_t bytes = bytes_.load(std::memory_order_relaxed);
    for (const Block& slab : kept_) bytes += slab.bytes();
    return bytes;
  }

  static constexpr size_t kMost = size_t{1} << 31;  // rows

  // ---- In an image: rows without uses, while nobody reads.

  // The number of the first row that was never given out.
  size_t end() const { return next_; }
  // Moves all rows, the memory of one slab after the other being given back. If it fails, those that were not moved stay
  // where they are; none is written again either way.
  Status freeze(Image& image, size_t offset) {
    Status status;
    for (size_t slab = 0; slab < owned_.size() && status.ok(); ++slab) {
      const size_t begin = slab << bits_, bytes = (std::min(next_, (slab + 1) << bits_) - begin) * stride_;
      status = image.write(offset + begin * stride_, owned_[slab].data(), bytes);
      if (!status.ok()) break;
      place(slab, const_cast<char*>(image.data()) + offset + begin * stride_);
      owned_[slab] = Block();
    }
    begin_anew();
    return status;
  }
  // Has all rows before ``end`` be those at ``image``. Of rows of which none was ever given out.
  void adopt(const char* image, size_t end) {
    next_ = end;
    for (size_t slab = 0; slab << bits_ < end; ++slab) place(slab, const_cast<char*>(image) + (slab * stride_ << bits_));
    begin_anew();
  }

 private:
  static constexpr size_t kSlab = size_t{32} << 20;

  // Rows that come next are of slabs of their own.
  void begin_anew() {
    first_ = next_ = (next_ + mask()) >> bits_ << bits_;
    free_ = 0;
    bytes_.store(0, std::memory_order_relaxed);
    kept_ = std::move(owned_);
    owned_.clear();
  }

  void place(size_t slab, char* at) { reinterpret_cast<char**>(slabs_.data())[slab] = at; }
  char* slab(uint32_t row) const { return reinterpret_cast<char**>(slabs_.data())[row >> bits_]; }
  uint32_t mask() const { return (uint32_t{1} << bits_) - 1; }

  size_t stride_;
  size_t counted_;  // bytes a row
  unsigned bits_ = 6;  // a slab holds 2 ** bits_ rows
  Block slabs_;        // the address of every slab that could ever be
  std::vector<Block> owned_;  // from first_ on
  std::vector<Block> kept_;   // before it
  size_t first_ = 1;  // those before it are not written again
  size_t next_ = 1;   // row never given out
  uint32_t free_ = 0;
  std::atomic<size_t> bytes_{0};
};

}  // namespace larix
