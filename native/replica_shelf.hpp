// The rows of one dim of a replica, on one level or on two: hot ones whole in memory, cold ones whole on disk and, unless
// readers are to read them there, as int8 in memory. What a row reads as depends on its level alone, never on how it came
// there. The C++ twin of what embedding/levels.py says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "quantize.hpp"
#include "replica_rows.hpp"
#include "row_file.hpp"
#include "status.hpp"

namespace larix {

// How a replica keeps its rows if not all of them hot.
struct Levels {
  std::string folder;  // for files of cold rows
  size_t hot_bytes;    // the most that hot rows may take, without their index
  bool int8;           // cold rows are read as int8 from memory, not from disk
};

class ReplicaShelf {
 public:
  // Numbers of cold rows begin here; those of hot ones are below. Row 0 is none.
  static constexpr uint32_t kCold = uint32_t{1} << 31;
  static_assert(kCold == ReplicaRows::kMost);
  static bool is_cold(uint32_t row) { return row >= kCold; }

  ReplicaShelf(Format format, size_t dim, const std::optional<Levels>& levels);
  Status open() { return cold_ ? cold_->file.open() : Status(); }

  bool leveled() const { return cold_ != nullptr; }
  size_t hot_stride() const { return hot_.stride(); }

  // ---- For readers.

  const char* hot(uint32_t row) const { return hot_.at(row); }
  bool on_disk(uint32_t row) const { return is_cold(row) && !cold_->int8; }
  const char* int8(uint32_t row) const { return cold_->rows.at(row - kCold); }
  void use(uint32_t row) const {
    const auto uses = uses_of(row);
    const uint8_t now = uses.load(std::memory_order_relaxed);
    if (now != UINT8_MAX) uses.store(now + 1, std::memory_order_relaxed);
  }
  void prefetch_uses(uint32_t row) const { __builtin_prefetch(rows_of(row).uses_at(row & ~kCold), 1); }
  // Cold rows as they are encoded whole; numbers as in the index.
  Status read(std::span<RowFile::Wanted> wanted, const PageReaders& readers) const;

  // ---- For the writer.

  // A place for a row with so many uses. May throw.
  uint32_t take(bool hot, uint8_t uses);
  void give_back(uint32_t row) { is_cold(row) ? cold_->rows.give_back(row - kCold) : hot_.give_back(row); }
  Status write(uint32_t row, const float* weights);
  Status write_encoded(uint32_t row, const char* whole);
  Status flush() { return cold_ ? cold_->file.flush() : Status(); }

  std::atomic_ref<uint8_t> uses_of(uint32_t row) const { return rows_of(row).uses(row & ~kCold); }
  template <class Visit>
  void each_uses(bool hot, const Visit& visit) const {
    (hot ? hot_ : cold_->rows).each_uses(visit);
  }

  // Of a shelf without levels: all its rows in an image; see ReplicaRows.
  ReplicaRows& rows() { return hot_; }

  size_t bytes() const { return hot_.bytes() + (cold_ ? cold_->rows.bytes() : 0); }
  size_t disk_bytes() const { return cold_ ? cold_->file.bytes() : 0; }

 private:
  struct Cold {
    ReplicaRows rows;  // as int8, or room for the list of free ones
    RowFile file;
    bool int8;
  };

  const ReplicaRows& rows_of(uint32_t row) const { return is_cold(row) ? cold_->rows : hot_; }

  Format format_;
  size_t dim_;
  ReplicaRows hot_;
  std::unique_ptr<Cold> cold_;
  std::unique_ptr<float[]> wide_;  // one row, for the writer
  std::unique_ptr<char[]> whole_;  // the same encoded
};

}  // namespace larix
