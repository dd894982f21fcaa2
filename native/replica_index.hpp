// From (table, id) to row, for any number of readers and one writer at a time, in several versions at once.
//
// A cell holds the whole key beside the row number and says for which versions it counts: from which on (born) and until
// which (dead). The writer only ever fills cells and marks them for the version after the one that readers see, so that
// whatever it is at, a reader finds all of its own version and nothing of the next: it need not look twice, nor wait, nor
// can it be misled by a row in motion, as a reader of an index that changes in place could. This is why a changed row gets
// a cell of its own rather than a new number in the old cell: one store then publishes a whole delta, not one row.
//
// Once a version is published and all readers of the one before have left, marks are settled and dead cells erased; once
// more all have left, erased cells may be filled again. Within a bucket cells are never moved. A shard that grows, or is to
// be rid of erased cells, is written anew beside the old one and published by one store; the old one is kept until all
// have left. That takes 1/32 of the index more while it lasts, and readers notice nothing.
//
// Chunks that lie in an image are never written to: the writer first takes a copy of its own in their place. Who still looks
// into the former sees what it did, which is all of its version.
//
// Four cells of 16 bytes a bucket of one cache line: with the keys in the index a row is weights alone, often one line,
// and an id without a row never touches one.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "hash.hpp"
#include "memory.hpp"
#include "simd.hpp"

namespace larix {

// A version's mark, 1 to 255: enough, since no more than two versions are ever marked.
inline uint8_t mark_of(uint64_t version) { return static_cast<uint8_t>(version % 255 + 1); }

// What a cell says of its row. 0: the cell has never been used, and so are those after it in its bucket.
struct Entry {
  uint64_t bits = 0;

  static Entry of(uint32_t row, uint32_t table, uint8_t born) { return {uint64_t{born} << 48 | uint64_t{table} << 32 | row}; }
  static constexpr uint64_t kErased = 0xFFFFFFFF;

  uint32_t row() const { return static_cast<uint32_t>(bits); }
  uint32_t table() const { return static_cast<uint32_t>(bits >> 32 & 0xFFFF); }  // 0: unused or erased
  uint8_t born() const { return static_cast<uint8_t>(bits >> 48); }              // 0: settled
  uint8_t dead() const { return static_cast<uint8_t>(bits >> 56); }              // 0: alive
  Entry settled() const { return {bits & 0xFF00FFFFFFFFFFFF}; }
  Entry alive() const { return {bits & 0x00FFFFFFFFFFFFFF}; }
  Entry dying(uint8_t mark) const { return {alive().bits | uint64_t{mark} << 56}; }

  // Whether a reader sees it that asks for ``table`` at the version before the one marked ``next``.
  LARIX_INLINE bool seen(uint32_t wanted, uint8_t next) const {
    if (bits >> 32 == wanted) return true;
    return table() == wanted && born() != next && (dead() == 0 || dead() == next);
  }
};

// Plain memory, shared by atomic references.
struct Cell {
  int64_t id;
  uint64_t entry;

  int64_t load_id() const { return std::atomic_ref(const_cast<int64_t&>(id)).load(std::memory_order_relaxed); }
  Entry load() const { return {std::atomic_ref(const_cast<uint64_t&>(entry)).load(std::memory_order_acquire)}; }
  void store(Entry now) { std::atomic_ref(entry).store(now.bits, std::memory_order_release); }
  void fill(int64_t key, Entry now) {
    std::atomic_ref(id).store(key, std::memory_order_relaxed);
    store(now);
  }
};

struct alignas(64) Cells {
  static constexpr unsigned kCount = 4;
  std::array<Cell, kCount> cells;

  // A bit for every cell with this id, used or not.
  LARIX_INLINE unsigned match(int64_t id) const {
    const auto hit = [&](unsigned i) { return static_cast<unsigned>(cells[i].load_id() == id) << i; };
    return hit(0) | hit(1) | hit(2) | hit(3);
  }
  bool full() const { return cells[kCount - 1].load().bits != 0; }  // once full, a bucket stays so
};
static_assert(sizeof(Cells) == 64);

class ReplicaIndex {
 public:
  static constexpr uint32_t kShards = 32;

  // One shard's buckets as a reader finds them. Who holds one may use it for the length of a stay.
  class View {
   public:
    uint32_t home(uint64_t hash) const { return static_cast<uint32_t>((hash & 0xFFFFFFFF) * count_ >> 32); }
    uint32_t after(uint32_t at) const { return at + 1 == count_ ? 0 : at + 1; }
    Cells& bucket(uint32_t at) const {
      return chunks_[at >> kChunkBits].load(std::memory_order_acquire)[at & ((1u << kChunkBits) - 1)];
    }

    // The row that a reader sees, from bucket ``at`` on, or 0.
    uint32_t find(uint32_t at, uint32_t table, int64_t id, uint8_t next) const {
      for (;; at = after(at)) {
        const Cells& here = bucket(at);
        for (unsigned hits = here.match(id); hits; hits &= hits - 1) {
          const Entry entry = here.cells[static_cast<unsigned>(std::countr_zero(hits))].load();
          if (entry.seen(table, next)) return entry.row();
        }
        if (!here.full()) return 0;
      }
    }

   private:
    friend class ReplicaIndex;
    std::unique_ptr<std::atomic<Cells*>[]> chunks_;
    uint32_t count_ = 0;  // buckets; at least one is never full
  };

  ReplicaIndex();
  ~ReplicaIndex();
  ReplicaIndex(const ReplicaIndex&) = delete;
  ReplicaIndex& operator=(const ReplicaIndex&) = delete;

  static uint32_t shard_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 59); }
  const View& view(uint64_t hash) const { return *shards_[shard_of(hash)].view.load(std::memory_order_acquire); }

  // All that follows: the writer alone.

  // Sees to it that one more cell can be filled, by writing the shard anew if need be. May throw, and changes nothing then.
  void make_room(uint64_t hash);

  // The cell of (table, id) that is not dead, to be written to, or null. May throw if there is an image.
  Cell* living(uint64_t hash, uint32_t table, int64_t id);

  // Has all cells be written to. May throw.
  void own_all();

  // The used cell of this row, which must be there.
  Cell& holding(uint64_t hash, uint32_t table, uint32_t row);

  // Fills a cell, for which there must be room.
  void insert(uint64_t hash, int64_t id, Entry entry);

  void erase(uint64_t hash, Cell& cell) {
    cell.store({Entry::kErased});
    ++shards_[shard_of(hash)].erased;
  }

  // Calls visit(cell, entry) for each used cell; readers, too, may.
  template <class Visit>
  void each(const Visit& visit) const {
    for (const Shard& shard : shards_) {
      const View& view = *shard.view.load(std::memory_order_acquire);
      for (uint32_t at = 0; at < view.count_; ++at) {
        for (Cell& cell : view.bucket(at).cells) {
          const Entry entry = cell.load();
          if (entry.table() != 0) visit(cell, entry);
        }
      }
    }
  }

  // What was written anew: bytes of the old, and leave to use them again now that nobody holds them.
  size_t retired_bytes() const { return retired_bytes_; }
  void recycle();

  // Memory ever used, without the image.
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  // ---- In an image. While nobody reads, and nothing waits to be settled.

  struct Extent {  // of a shard
    uint64_t count, filled, erased;
  };
  using Extents = std::array<Extent, kShards>;
  Extents extents() const;
  static size_t image_bytes(const Extents& extents);
  // Calls visit(bytes, count) for all memory in the order of an image.
  template <class Visit>
  void each_chunk(const Visit& visit) const {
    for (const Shard& shard : shards_) {
      const View& view = *shard.view.load();
      for (size_t i = 0; i < chunks_of(view.count_); ++i) visit(view.chunks_[i].load(), kChunkBytes);
    }
  }
  // Has all chunks be those at ``image``. May throw, and changes nothing then.
  void adopt(const Extents& extents, const char* image);

 private:
  static constexpr unsigned kChunkBits = 9;
  static constexpr size_t kChunkBytes = sizeof(Cells) << kChunkBits;

  struct alignas(64) Shard {
    std::atomic<const View*> view{nullptr};
    size_t filled = 0;  // cells, the erased ones included
    size_t erased = 0;
  };

  std::unique_ptr<View> make_view(uint32_t count);
  Cells* take_chunk();
  bool in_image(const Cells* chunk) const {
    return reinterpret_cast<uintptr_t>(chunk) - reinterpret_cast<uintptr_t>(image_) < image_bytes_;
  }
  void own(const View& view, size_t chunk);
  void own_bucket(const View& view, uint32_t at) {
    if (image_) own(view, at >> kChunkBits);
  }
  static size_t chunks_of(uint32_t count) { return ((size_t{count} - 1) >> kChunkBits) + 1; }
  static size_t limit(uint32_t count) { return size_t{count} * Cells::kCount * 4 / 5; }
  static void place(const View& view, uint64_t hash, int64_t id, Entry entry);
  static uint32_t free_bucket(const View& view, uint64_t hash);

  std::array<Shard, kShards> shards_;
  std::vector<std::unique_ptr<const View>> retired_;
  size_t retired_bytes_ = 0;
  std::vector<Block> blocks_;
  char* fresh_ = nullptr;  // chunks never used, in the last block
  size_t fresh_left_ = 0;
  std::vector<Cells*> free_;  // chunks to be used again, zeroed; has room for all that there are
  std::atomic<size_t> bytes_{0};
  const char* image_ = nullptr;
  size_t image_bytes_ = 0;
};

}  // namespace larix
