// A segment: rows on disk that never change, sorted by hash, in pages with a checksum each; in memory 12.3 bits a row say
// where a key may lie and whether it has been taken.
//
//   page 0 | page 1 | ... | footer                page: CRC32C, then rows one after the other, then zeros
//                                                 row:  id int64, table uint16, record
// The checksum of a page begins with the segment's ages and the page's number, so that a page in the wrong place is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "file.hpp"
#include "fingerprints.hpp"
#include "hash.hpp"

namespace larix {

struct ColdKey {
  int64_t id;
  uint32_t table;  // 1 .. 65535
};

// What rows of a segment are sorted by, and then by table. For one table it is a bijection of the ids: equal hash and equal
// table is the same key. Part of the file format.
inline uint64_t segment_hash(int64_t id, uint32_t table) {
  return mix(static_cast<uint64_t>(id) ^ mix(table * kGolden));
}

// Which spills a segment holds: they are numbered from 1, and a merged segment holds all of ``first`` to ``last``.
struct Ages {
  uint64_t first, last;
};

// How records of one size lie in pages.
struct PageLayout {
  static constexpr size_t kHead = 4;       // CRC32C
  static constexpr size_t kKeyBytes = 10;  // id and table

  explicit PageLayout(size_t record_bytes);

  uint64_t page_of(uint64_t row) const { return row / page_rows; }
  uint64_t pages(uint64_t rows) const { return (rows + page_rows - 1) / page_rows; }
  size_t offset_of(uint64_t row) const { return kHead + row % page_rows * row_bytes; }

  size_t record_bytes;
  size_t row_bytes;
  size_t page_bytes;  // the least multiple of 4 KiB that wastes no more than an eighth
  size_t page_rows;
};

// A row as it lies in a page.
struct RowView {
  RowView(int64_t id, uint32_t table, const char* record, size_t bytes)
      : id(id), table(table), record(record), bytes(bytes) {}
  RowView(const char* row, const PageLayout& layout)
      : record(row + PageLayout::kKeyBytes), bytes(layout.record_bytes) {
    uint16_t number;
    std::memcpy(&id, row, sizeof id);
    std::memcpy(&number, row + sizeof id, sizeof number);
    table = number;
  }

  int64_t id;
  uint32_t table;
  const char* record;
  size_t bytes;
};

// A key that is looked for: its hash and its place in the caller's list.
struct Sought {
  uint64_t hash;
  uint32_t at;
};

// A row where a key may lie.
struct Candidate {
  uint32_t row;
  uint32_t sought;  // place in the list of Sought
};

class Segment {
 public:
  static constexpr uint64_t kMostRows = UINT32_MAX;

  // A finished segment from its file; every page is read and checked. No row counts as dead.
  static Status load(File file, const PageLayout& layout, std::shared_ptr<Segment>& segment);

  const File& file() const { return file_; }
  Ages ages() const { return ages_; }
  const PageLayout& layout() const { return layout_; }
  uint32_t rows() const { return static_cast<uint32_t>(fingerprints_.rows()); }
  uint32_t live() const { return rows() - killed_; }
  uint64_t bytes() const;  // on disk
  size_t memory() const { return sizeof *this + fingerprints_.bytes() + dead_.capacity() * sizeof(uint64_t); }

  bool dead(uint32_t row) const { return dead_[row / 64] >> row % 64 & 1; }
  const std::vector<uint64_t>& dead() const { return dead_; }

  // The row no longer counts; whether it did.
  bool kill(uint32_t row) {
    if (dead(row)) return false;
    dead_[row / 64] |= uint64_t{1} << row % 64;
    ++killed_;
    return true;
  }

  // Appends the living rows where the keys, sorted by hash, may lie, in the order of rows.
  void locate(std::span<const Sought> keys, std::vector<Candidate>& candidates) const;

  // Whether a page that was read is the page of this number.
  Status check(const char* page, uint64_t number) const;

  // What to say of a page that could not be read; ``error`` as PageReader gives it.
  Status unreadable(uint64_t number, int error) const;

  // Reads and checks ``pages`` pages from ``first`` on.
  Status read(uint64_t first, uint64_t pages, char* into) const;

 private:
  friend class SegmentWriter;
  struct Footer;

  Segment(File file, const PageLayout& layout, Ages ages, uint64_t most_rows);
  uint32_t checksum(const char* page, uint64_t number) const;
  Status damaged(uint64_t page, const std::string& how) const;
  Status load_pages(uint64_t rows);

  File file_;
  PageLayout layout_;
  Ages ages_;
  Fingerprints fingerprints_;
  std::vector<uint64_t> dead_;  // one bit a row
  uint32_t killed_ = 0;
};

// Writes a segment from rows in order. Until it is finished and renamed its file ends in ".part".
class SegmentWriter {
 public:
  static Status create(const std::string& path, const PageLayout& layout, Ages ages, uint64_t most_rows,
                       std::unique_ptr<SegmentWriter>& writer);

  // Rows must come sorted by hash and table. A full buffer is written out.
  Status add(uint64_t hash, int64_t id, uint32_t table, const char* record);

  // Writes the rest and the footer.
  Status finish();

  // Gives the finished file its name.
  Status publish(const std::string& path) { return segment_->file_.rename(path); }

  // What has been added can be killed already; it can be read when it is finished.
  const std::shared_ptr<Segment>& segment() const { return segment_; }
  uint32_t rows() const { return segment_->rows(); }
  size_t memory() const { return sizeof *this + buffer_.capacity(); }

 private:
  SegmentWriter(std::shared_ptr<Segment> segment, size_t buffer_pages);
  Status flush();

  std::shared_ptr<Segment> segment_;
  std::vector<char> buffer_;  // whole pages
  uint64_t first_ = 0;        // the page at its begin
};

}  // namespace larix
