// What has changed since when. A changed row marks its block with the sequence number, so that all that changed since one
// is found by looking through marks, a quarter of a byte a row; ids that went away are listed. Knows nothing of files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "index.hpp"

namespace larix {

struct Group;

// Rows of one table, a column each.
struct Columns {
  void reserve(const Group& group, size_t rows);
  // A row as it lies in memory.
  void add(const Group& group, const char* row);

  std::vector<int64_t> ids;
  std::vector<float> weights;  // [n, dim]
  std::vector<float> state;    // [n, s]
  std::vector<uint32_t> seen;
  std::vector<float> score;
};

// All that changed with sequence numbers above ``since``, at the instant that ended ``sequence``.
struct Changes {
  struct Table {
    Columns rows;                  // by rising id
    std::vector<int64_t> removed;  // ids that are not there now, rising
  };
  uint32_t sequence = 0;
  uint64_t steps = 0;
  uint32_t now = 0;
  std::vector<Table> tables;  // by table number; none has 0
};

// The ids of one group that went away since tracking began, by shard: a shard has one writer.
class Gone {
 public:
  struct One {
    int64_t id;
    uint32_t table;
    uint32_t sequence;
  };

  void add(uint32_t shard, const One& one) {
    std::vector<One>& list = lists_[shard];
    if (list.size() == list.capacity()) list.reserve(list.size() + list.size() / 8 + kMore);  // twice as much would be felt
    list.push_back(one);
  }
  const std::vector<One>& of(uint32_t shard) const { return lists_[shard]; }

  // Lets go those of sequence numbers up to ``upto``.
  void forget(uint32_t upto) {
    for (std::vector<One>& list : lists_) {
      std::erase_if(list, [&](const One& one) { return one.sequence <= upto; });
      if (list.capacity() > 2 * list.size() + 64) list.shrink_to_fit();
    }
  }

  // Most bytes of so many.
  static size_t bytes_of(size_t count) { return (count + count / 8 + kMore * Index::kShards) * sizeof(One); }

  size_t count() const {
    size_t total = 0;
    for (const std::vector<One>& list : lists_) total += list.size();
    return total;
  }
  size_t bytes() const {
    size_t total = 0;
    for (const std::vector<One>& list : lists_) total += list.capacity() * sizeof(One);
    return total;
  }

 private:
  static constexpr size_t kMore = 16;

  std::array<std::vector<One>, Index::kShards> lists_;
};

}  // namespace larix
