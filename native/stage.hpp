// Rows on their way out, apart by table: raw, in chunks of one pool that are used again, so that memory stays what it is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "memory.hpp"
#include "track.hpp"

namespace larix {

class Stage {
 public:
  // ``bytes``: from which on no more than ``portion`` is added before some is given; ``longest``: bytes of a row at most.
  Stage(size_t tables, size_t bytes, size_t portion, size_t longest)
      : chunk_(std::max(longest, std::min(kChunk, bytes / 2 / tables))), tables_(tables) {
    pool_ = Block(bytes + 2 * portion + (tables + 2) * chunk_, Pages::small);
  }

  void add(uint32_t table, const char* row, size_t stride) {
    Table& into = tables_[table];
    const size_t fit = chunk_ / stride;
    if (into.rows % fit == 0) into.chunks.push_back(take());
    std::memcpy(pool_.data() + into.chunks.back() * chunk_ + into.rows % fit * stride, row, stride);
    ++into.rows;
    into.bytes += stride;
  }

  // The table that holds most bytes, 0 if all are empty.
  uint32_t fullest() const {
    const auto most = std::max_element(tables_.begin(), tables_.end(),
                                       [](const Table& a, const Table& b) { return a.bytes < b.bytes; });
    return most->rows ? static_cast<uint32_t>(most - tables_.begin()) : 0;
  }
  size_t bytes(uint32_t table) const { return tables_[table].bytes; }

  // Bytes of all chunks in use, and of all that ever were.
  size_t used() const { return (made_ - free_.size()) * chunk_; }
  size_t high() const { return made_ * chunk_; }

  // The rows of one table, which holds none after.
  Columns give(uint32_t table, const Group& group, size_t stride) {
    Table& from = tables_[table];
    Columns columns;
    columns.reserve(group, from.rows);
    const size_t fit = chunk_ / stride;
    for (size_t at = 0; at < from.rows; ++at) {
      columns.add(group, pool_.data() + from.chunks[at / fit] * chunk_ + at % fit * stride);
    }
    free_.insert(free_.end(), from.chunks.begin(), from.chunks.end());
    from = Table();
    return columns;
  }

 private:
  static constexpr size_t kChunk = size_t{64} << 10;

  struct Table {
    std::vector<size_t> chunks;
    size_t rows = 0;
    size_t bytes = 0;
  };

  size_t take() {
    if (free_.empty()) return made_++;
    const size_t chunk = free_.back();
    free_.pop_back();
    return chunk;
  }

  size_t chunk_;
  Block pool_;
  size_t made_ = 0;
  std::vector<size_t> free_;
  std::vector<Table> tables_;
};

}  // namespace larix
