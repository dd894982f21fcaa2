// From (table, id) to row number: buckets of one cache line, eight tags of 32 bits beside eight row numbers. The key
// itself stands in the row's header, where whoever finds a row compares it; a tag is wrong about once in ten thousand.
//
// Thirty-two shards, by table and by the high bits of the hash, each with one writer at a time and any number of readers
// otherwise. A full bucket overflows into the next. A shard grows by three eighths in place, a few buckets for each insert:
// tags keep their order when they spread out, so buckets move up from the last to the first and no second index is needed.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "hash.hpp"
#include "memory.hpp"
#include "simd.hpp"

namespace larix {

inline constexpr uint32_t kNoRow = 0;  // no row has this number, and zeroed memory is an empty index

struct alignas(64) Bucket {
  static constexpr unsigned kCells = 8;

  std::array<uint32_t, kCells> tags;
  std::array<uint32_t, kCells> rows;  // kNoRow: empty, and so are the cells after it

  // A bit for every cell with this tag. An empty cell has tag 0: the row tells.
  unsigned match(uint32_t tag) const { return equal(tags, tag); }
  bool full() const { return rows[kCells - 1] != kNoRow; }
  unsigned used() const { return static_cast<unsigned>(std::countr_zero(equal(rows, kNoRow) | 1u << kCells)); }

  // A bit for every number that is ``wanted``.
  static unsigned equal(const std::array<uint32_t, kCells>& numbers, uint32_t wanted_number) {
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(wanted_number));
    const auto* four = reinterpret_cast<const __m128i*>(numbers.data());
    const __m128i low = _mm_cmpeq_epi32(_mm_load_si128(four), wanted);
    const __m128i high = _mm_cmpeq_epi32(_mm_load_si128(four + 1), wanted);
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(low, high), _mm_setzero_si128())));
#else
    unsigned hits = 0;
    for (unsigned i = 0; i < kCells; ++i) hits |= static_cast<unsigned>(numbers[i] == wanted_number) << i;
    return hits;
#endif
  }
};
static_assert(sizeof(Bucket) == 64);

// Pieces of equal size for all shards of an index, so that small shards need no huge page each.
class Chunks {
 public:
  static constexpr unsigned kBits = 9;
  static constexpr size_t kBytes = sizeof(Bucket) << kBits;

  Bucket* take() {
    const std::lock_guard lock(taking_);
    if (left_ == 0) {
      left_ = blocks_.empty() ? size_t{32} : kHugePage / kBytes;  // the first block stays below a huge page
      blocks_.emplace_back(left_ * kBytes);
      next_ = blocks_.back().data();
    }
    --left_;
    bytes_.fetch_add(kBytes, std::memory_order_relaxed);
    Bucket* chunk = reinterpret_cast<Bucket*>(next_);
    next_ += kBytes;
    return chunk;
  }

  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  std::vector<Block> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
  std::atomic<size_t> bytes_ = 0;
  std::mutex taking_;
};

class Shard {
 public:
  void open(Chunks& supply, uint32_t buckets) {
    supply_ = &supply;
    count_ = wider_ = frontier_ = buckets;
    provide(buckets);
  }

  LARIX_INLINE void prefetch(uint32_t tag) const { __builtin_prefetch(&bucket(home(tag)), 1); }
  // The home buckets of up to kTogether keys by their hashes, which are asked for.
  static constexpr size_t kTogether = 64;
  LARIX_INLINE void homes(const uint64_t* hashes, size_t count, const Bucket** buckets) const {
    const uint64_t narrow = count_, wide = wider_, frontier = frontier_;
    Bucket* const* const chunks = chunks_.data();
    uint64_t at[kTogether];
    LARIX_COLUMNS
    for (size_t i = 0; i < count; ++i) {
      const uint64_t tag = hashes[i] & 0xFFFFFFFF, low = tag * narrow >> 32, high = tag * wide >> 32;
      at[i] = low < frontier ? low : high;
    }
    for (size_t i = 0; i < count; ++i) {
      buckets[i] = chunks[at[i] >> Chunks::kBits] + (at[i] & ((1u << Chunks::kBits) - 1));
      __builtin_prefetch(buckets[i], 0, 2);  // into the second cache: see Rows::prefetch_far
    }
  }
  LARIX_INLINE void prefetch_second(uint32_t tag) const { __builtin_prefetch(&bucket(home(tag) + 1)); }

  // The row with this tag for which is(row) holds, or kNoRow.
  template <class Is>
  uint32_t find(uint32_t tag, const Is& is) const {
    for (uint32_t at = home(tag);; ++at) {
      const Bucket& here = bucket(at);
      for (unsigned hits = here.match(tag); hits; hits &= hits - 1) {
        const uint32_t row = here.rows[static_cast<unsigned>(std::countr_zero(hits))];
        if (row == kNoRow) return kNoRow;
        if (is(row)) return row;
      }
      if (!here.full()) return kNoRow;
    }
  }

  // About ``inserts`` follow: what they would move of a shard that grows is moved now, bucket after bucket, which memory
  // serves far faster than a few buckets of every shard in turn.
  void expect(uint32_t inserts) {
    ahead_ = inserts;
    if (wider_ != count_) move_up(uint64_t{inserts} * kPace);
  }

  // The row with this tag for which is(row) holds; or the one that make() gives, whose entry is made, unless it is kNoRow.
  // Throws std::bad_alloc or std::length_error and changes nothing then.
  template <class Is, class Make>
  LARIX_INLINE uint32_t find_or_insert(uint32_t tag, const Is& is, const Make& make) {
    if (wider_ == count_ && used_ >= limit()) begin_growth();
    if (ahead_) {
      --ahead_;
    } else if (wider_ != count_) {
      move_up(kPace);
      if (wider_ != count_) ask_ahead();
    }
    uint32_t at = home(tag);
    for (;; ++at) {
      const Bucket& here = bucket(at);
      for (unsigned hits = here.match(tag); hits; hits &= hits - 1) {
        const uint32_t row = here.rows[static_cast<unsigned>(std::countr_zero(hits))];
        if (row == kNoRow) break;
        if (is(row)) return row;
      }
      if (!here.full()) break;
    }
    Bucket& into = bucket(at);
    const unsigned used = into.used();
    if (used + 1 == Bucket::kCells) provide_after(at);
    const uint32_t row = make();
    if (row == kNoRow) return kNoRow;
    into.tags[used] = tag;
    into.rows[used] = row;
    ++used_;
    return row;
  }

  // Of a key that is not there. Throws as find_or_insert.
  void insert(uint32_t tag, uint32_t row) {
    find_or_insert(tag, [](uint32_t) { return false; }, [&] { return row; });
  }

  // Takes out a row that is there with this tag.
  void erase(uint32_t tag, uint32_t row) {
    uint32_t at = home(tag);
    while (Bucket::equal(bucket(at).rows, row) == 0) ++at;
    const uint32_t end = lift(at);
    std::erase_if(lifted_, [&](const Cell& cell) { return cell.row == row; });
    clear(at, end);
    for (const Cell& cell : lifted_) place(cell.tag, cell.row);
    --used_;
  }

  // A row that is there with this tag has another number from now on.
  void renumber(uint32_t tag, uint32_t row, uint32_t number) {
    uint32_t at = home(tag);
    unsigned hits;
    while ((hits = Bucket::equal(bucket(at).rows, row)) == 0) ++at;
    bucket(at).rows[static_cast<unsigned>(std::countr_zero(hits))] = number;
  }

  template <class Visit>
  void each(const Visit& visit) const {
    for (uint32_t at = 0; at < provided_; ++at) {
      for (const uint32_t row : bucket(at).rows) {
        if (row == kNoRow) break;
        visit(row);
      }
    }
  }

 private:
  static constexpr uint32_t kPace = 2;  // buckets moved at an insert: growth is over after half an insert a bucket
  static constexpr uint32_t kNear = 3;  // buckets to which nearly all of one goes
  static constexpr size_t kMost = size_t{1} << 30;  // buckets: of 2 ** 32 rows, twice over

  Bucket& bucket(uint32_t at) const { return chunks_[at >> Chunks::kBits][at & ((1u << Chunks::kBits) - 1)]; }
  static uint32_t spread(uint32_t tag, uint32_t count) { return static_cast<uint32_t>(uint64_t{tag} * count >> 32); }
  uint32_t home(uint32_t tag) const {
    const uint32_t narrow = spread(tag, count_), wide = spread(tag, wider_);
    return narrow < frontier_ ? narrow : wide;
  }
  size_t limit() const { return size_t{count_} * Bucket::kCells * 4 / 5; }

  // Sees to it that buckets [0, count) exist, and one or more after them for what overflows.
  void provide(size_t count) {
    if (count > kMost) throw std::length_error("more than four billion rows of one kind");
    const size_t wanted = (count >> Chunks::kBits) + 1;
    chunks_.reserve(wanted);
    for (; chunks_.size() < wanted; provided_ += 1u << Chunks::kBits) chunks_.push_back(supply_->take());
  }

  void begin_growth() {
    const size_t wider = size_t{count_} + count_ / 8 * 3;
    provide(wider);
    wider_ = static_cast<uint32_t>(wider);
    move_up(uint64_t{ahead_} * kPace);
  }

  // Moves what belongs to the last ``turns`` buckets that have not been spread out, or as many as there are.
  void move_up(uint64_t turns);
  void spread_out(const Bucket& from, uint32_t at, uint32_t near, uint64_t& fill);

  // How many cells are used of ``count`` buckets from ``first`` on, a byte each.
  uint64_t fill_of(uint32_t first, uint32_t count) const {
    uint64_t fill = 0;
    for (uint32_t i = 0; i < count && first + i < provided_; ++i) fill |= uint64_t{bucket(first + i).used()} << 8 * i;
    return fill;
  }

  // Asks for the buckets that the next insert will move, and for those where they go.
  LARIX_INLINE void ask_ahead() const {
    for (uint32_t back = 1; back <= kPace && back <= frontier_; ++back) {
      const uint32_t from = frontier_ - back;
      const auto into = static_cast<uint32_t>(uint64_t{from} * wider_ / count_);
      __builtin_prefetch(&bucket(from), 1);
      __builtin_prefetch(&bucket(into), 1);
      __builtin_prefetch(&bucket(into + 1), 1);
    }
  }

  // Notes all that a path through bucket ``at`` may have led to; returns where such paths end.
  uint32_t lift(uint32_t at) {
    lifted_.clear();
    for (bool on = true; on; ++at) {
      const Bucket& from = bucket(at);
      const unsigned used = from.used();
      on = used == Bucket::kCells;
      const size_t before = lifted_.size();
      lifted_.resize(before + Bucket::kCells);
      for (unsigned cell = 0; cell < Bucket::kCells; ++cell) lifted_[before + cell] = {from.tags[cell], from.rows[cell]};
      lifted_.resize(before + used);
    }
    return at;
  }

  void clear(uint32_t first, uint32_t end) {
    for (uint32_t at = first; at < end; ++at) bucket(at) = Bucket{};
  }

  void place(uint32_t tag, uint32_t row) {
    uint32_t at = home(tag);
    unsigned used;
    while ((used = bucket(at).used()) == Bucket::kCells) ++at;
    Bucket& into = bucket(at);
    into.tags[used] = tag;
    into.rows[used] = row;
    if (used + 1 == Bucket::kCells) provide_after(at);
  }

  // A path ends in a bucket that is not full: there is one after the last.
  void provide_after(uint32_t at) {
    if (at + 1 == provided_) provide(size_t{provided_} + 1);
  }

  struct Cell {
    uint32_t tag, row;
  };

  Chunks* supply_ = nullptr;
  std::vector<Bucket*> chunks_;
  uint32_t count_ = 0;     // buckets over which tags are spread
  uint32_t wider_ = 0;     // during growth: over which those at and after the frontier are
  uint32_t frontier_ = 0;  // in buckets of count_
  uint32_t provided_ = 0;
  uint32_t ahead_ = 0;  // inserts whose moves are made
  size_t used_ = 0;
  std::vector<Cell> lifted_;
};

class Index {
 public:
  static constexpr uint32_t kShards = 32;

  // ``tables``: how many have rows in it. They part the shards among them, as far as there are enough, so that the lookups
  // of a slot, which come one after the other, meet a small part of the index alone.
  explicit Index(size_t tables)
      : each_(kShards / static_cast<uint32_t>(std::min<size_t>(std::bit_ceil(tables), kShards))) {
    // First sizes differ by up to a third, about one growth step, so that memory rises evenly.
    for (uint32_t i = 0; i < kShards; ++i) shards_[i].open(chunks_, 64 + i * 2 / 3);
  }

  uint32_t shard_of(uint64_t hash, uint32_t table) const {
    return (table * each_ + (static_cast<uint32_t>(hash >> 59) & (each_ - 1))) % kShards;
  }
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash); }
  Shard& shard(uint64_t hash, uint32_t table) { return shards_[shard_of(hash, table)]; }
  const Shard& shard(uint64_t hash, uint32_t table) const { return shards_[shard_of(hash, table)]; }

  // The shard of all rows of a table, or null if there are several.
  const Shard* only(uint32_t table) const { return each_ == 1 ? &shards_[table % kShards] : nullptr; }

  // See Shard. To be called by the shard's one writer.
  void expect(uint32_t shard, uint32_t inserts) { shards_[shard].expect(inserts); }

  template <class Visit>
  void each(const Visit& visit) const {
    for (const Shard& shard : shards_) shard.each(visit);
  }

  size_t bytes() const { return chunks_.bytes(); }

 private:
  uint32_t each_;  // shards of a table, a power of two
  Chunks chunks_;
  std::array<Shard, kShards> shards_;
};

}  // namespace larix
