// From (table, id) to row number: buckets of one cache line, keys compared directly, any 64-bit id.
//
// Thirty-two shards by the high bits of the hash, each with one writer at a time and any number of readers otherwise.
// A full bucket overflows into the next. A shard grows by a quarter on its own, at its own time: no pause holds all.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hash.hpp"
#include "memory.hpp"

namespace larix {

inline constexpr uint32_t kNoRow = ~uint32_t{0};

struct Entry {
  int64_t id;
  uint32_t row;
  uint32_t table;  // 0: empty, and so are the entries after it in the bucket
};

struct Bucket {
  std::array<Entry, 4> entries;

  // Where in the bucket a key lies is a coin toss: one branch for all four.
  Entry* match(int64_t id, uint32_t table) {
    unsigned hits = 0;
    for (unsigned i = 0; i < 4; ++i) {
      hits |= static_cast<unsigned>((entries[i].id == id) & (entries[i].table == table)) << i;
    }
    return hits ? &entries[static_cast<size_t>(std::countr_zero(hits))] : nullptr;
  }
  const Entry* match(int64_t id, uint32_t table) const { return const_cast<Bucket*>(this)->match(id, table); }
  bool full() const { return entries[3].table != 0; }
};
static_assert(sizeof(Bucket) == 64);

class Shard {
 public:
  explicit Shard(uint32_t buckets = 0) : first_(buckets) {}

  void prefetch(uint64_t hash) const { __builtin_prefetch(buckets() + home(hash)); }
  void prefetch_second(uint64_t hash) const { __builtin_prefetch(buckets() + next(home(hash))); }

  // The entry of (table, id), or null.
  Entry* find(uint64_t hash, int64_t id, uint32_t table) const {
    if (count_ == 0) return nullptr;
    for (uint32_t at = home(hash);; at = next(at)) {
      if (Entry* entry = buckets()[at].match(id, table)) return entry;
      if (!buckets()[at].full()) return nullptr;
    }
  }

  // The home bucket alone, for a caller that wants to ask for the second one before it looks there.
  const Bucket* home_bucket(uint64_t hash) const { return count_ ? buckets() + home(hash) : nullptr; }

  // (table, id) must not be there.
  void insert(uint64_t hash, Entry entry) {
    if (used_ >= limit()) grow();
    place(hash, entry);
    ++used_;
  }

  // Takes out an entry that find gave, and closes the gap: an entry's path from its home bucket is always full.
  void erase(Entry* entry) {
    uint32_t hole = static_cast<uint32_t>((reinterpret_cast<char*>(entry) - block_.data()) / sizeof(Bucket));
    --used_;
    bool was_full = take_out(buckets()[hole], entry);
    for (uint32_t at = next(hole); was_full; at = next(at)) {
      Bucket& bucket = buckets()[at];
      Entry* moved = nullptr;
      for (Entry& candidate : bucket.entries) {
        if (candidate.table == 0) break;
        const uint32_t from = home(place_hash(candidate.id, candidate.table));
        if (distance(from, at) >= distance(hole, at)) moved = &candidate;
      }
      if (moved) {
        buckets()[hole].entries[3] = *moved;
        was_full = take_out(bucket, moved);
        hole = at;
      } else if (!bucket.full()) {
        return;
      }
    }
  }

  template <class Visit>
  void each(Visit visit) const {
    for (uint32_t at = 0; at < count_; ++at) {
      for (const Entry& entry : buckets()[at].entries) {
        if (entry.table == 0) break;
        visit(entry);
      }
    }
  }

  size_t bytes() const { return block_.bytes(); }

 private:
  Bucket* buckets() const { return reinterpret_cast<Bucket*>(block_.data()); }
  uint32_t home(uint64_t hash) const { return static_cast<uint32_t>(((hash >> 27 & 0xFFFFFFFFull) * count_) >> 32); }
  uint32_t next(uint32_t at) const { return at + 1 == count_ ? 0 : at + 1; }
  uint32_t distance(uint32_t from, uint32_t to) const { return to >= from ? to - from : to + count_ - from; }
  size_t limit() const { return size_t{count_} * 4 * 4 / 5; }  // four fifths of all entries

  // Returns whether the bucket was full before.
  static bool take_out(Bucket& bucket, Entry* entry) {
    int last = 3;
    while (bucket.entries[last].table == 0) --last;
    *entry = bucket.entries[last];
    bucket.entries[last] = Entry{};
    return last == 3;
  }

  void place(uint64_t hash, Entry entry) {
    for (uint32_t at = home(hash);; at = next(at)) {
      for (Entry& free : buckets()[at].entries) {
        if (free.table == 0) {
          free = entry;
          return;
        }
      }
    }
  }

  void grow() {
    size_t count = count_ == 0 ? first_ : size_t{count_} + count_ / 4 + 1;
    constexpr size_t huge = kHugePage / sizeof(Bucket);
    if (count >= 2 * huge) count = (count + huge - 1) / huge * huge;
    if (count > 0xFFFFFFFFull) throw std::bad_alloc();
    Shard larger;
    larger.block_ = Block(count * sizeof(Bucket));
    larger.count_ = static_cast<uint32_t>(count);
    each([&](const Entry& entry) { larger.place(place_hash(entry.id, entry.table), entry); });
    std::swap(block_, larger.block_);
    count_ = larger.count_;
  }

  Block block_;
  uint32_t count_ = 0;  // of buckets
  uint32_t first_;
  size_t used_ = 0;
};

class Index {
 public:
  static constexpr uint32_t kShards = 32;

  Index() {
    // First sizes differ by up to a quarter, one growth step, so that shards grow one after the other for ever.
    for (uint32_t i = 0; i < kShards; ++i) shards_[i] = Shard(64 + i / 2);
  }

  static uint32_t shard_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 59); }
  Shard& shard(uint64_t hash) { return shards_[shard_of(hash)]; }
  const Shard& shard(uint64_t hash) const { return shards_[shard_of(hash)]; }

  template <class Visit>
  void each(Visit visit) const {
    for (const Shard& shard : shards_) shard.each(visit);
  }

  size_t bytes() const {
    size_t total = 0;
    for (const Shard& shard : shards_) total += shard.bytes();
    return total;
  }

 private:
  std::array<Shard, kShards> shards_;
};

}  // namespace larix
