#include "replica_index.hpp"

#include <algorithm>
#include <cstring>

namespace larix {

ReplicaIndex::ReplicaIndex() {
  // First sizes differ by up to a third, about one growth step, so that memory rises evenly.
  for (uint32_t i = 0; i < kShards; ++i) shards_[i].view.store(make_view(48 + i / 2).release());
}

ReplicaIndex::~ReplicaIndex() {
  for (Shard& shard : shards_) delete shard.view.load();
}

Cells* ReplicaIndex::take_chunk() {
  if (!free_.empty()) {
    Cells* chunk = free_.back();
    free_.pop_back();
    return chunk;
  }
  if (fresh_left_ == 0) {
    // The first block stays below a huge page: it is enough for a small index.
    Block block(blocks_.empty() ? kShards * kChunkBytes : 2 * kHugePage);
    free_.reserve(free_.capacity() + block.bytes() / kChunkBytes);
    blocks_.push_back(std::move(block));
    fresh_ = blocks_.back().data();
    fresh_left_ = blocks_.back().bytes() / kChunkBytes;
  }
  auto* chunk = reinterpret_cast<Cells*>(fresh_);
  fresh_ += kChunkBytes;
  --fresh_left_;
  bytes_.store(bytes_.load(std::memory_order_relaxed) + kChunkBytes, std::memory_order_relaxed);
  return chunk;
}

std::unique_ptr<ReplicaIndex::View> ReplicaIndex::make_view(uint32_t count) {
  auto view = std::make_unique<View>();
  const size_t chunks = chunks_of(count);
  view->chunks_ = std::make_unique<std::atomic<Cells*>[]>(chunks);
  view->count_ = count;
  retired_.reserve(retired_.size() + 1);
  for (size_t i = 0; i < chunks; ++i) {
    try {
      view->chunks_[i] = take_chunk();
    } catch (...) {
      while (i-- > 0) free_.push_back(view->chunks_[i]);
      throw;
    }
  }
  return view;
}

// Where the next cell of this hash is filled.
uint32_t ReplicaIndex::free_bucket(const View& view, uint64_t hash) {
  for (uint32_t at = view.home(hash);; at = view.after(at)) {
    for (const Cell& cell : view.bucket(at).cells) {
      if (cell.load().table() == 0) return at;
    }
  }
}

void ReplicaIndex::own(const View& view, size_t chunk) {
  const Cells* const there = view.chunks_[chunk].load();
  if (!in_image(there)) return;
  Cells* const mine = take_chunk();
  std::memcpy(static_cast<void*>(mine), there, kChunkBytes);
  view.chunks_[chunk].store(mine, std::memory_order_release);
}

void ReplicaIndex::own_all() {
  if (!image_) return;
  for (const Shard& shard : shards_) {
    const View& view = *shard.view.load();
    for (size_t i = 0; i < chunks_of(view.count_); ++i) own(view, i);
  }
}

ReplicaIndex::Extents ReplicaIndex::extents() const {
  Extents extents;
  for (uint32_t i = 0; i < kShards; ++i) {
    extents[i] = {shards_[i].view.load()->count_, shards_[i].filled, shards_[i].erased};
  }
  return extents;
}

size_t ReplicaIndex::image_bytes(const Extents& extents) {
  size_t chunks = 0;
  for (const Extent& shard : extents) chunks += chunks_of(static_cast<uint32_t>(shard.count));
  return chunks * kChunkBytes;
}

void ReplicaIndex::adopt(const Extents& extents, const char* image) {
  std::array<std::unique_ptr<View>, kShards> views;
  char* at = const_cast<char*>(image);  // cells of views can be written to; these are not
  for (uint32_t i = 0; i < kShards; ++i) {
    views[i] = std::make_unique<View>();
    views[i]->count_ = static_cast<uint32_t>(extents[i].count);
    const size_t chunks = chunks_of(views[i]->count_);
    views[i]->chunks_ = std::make_unique<std::atomic<Cells*>[]>(chunks);
    for (size_t chunk = 0; chunk < chunks; ++chunk, at += kChunkBytes) {
      views[i]->chunks_[chunk].store(reinterpret_cast<Cells*>(at), std::memory_order_relaxed);
    }
  }
  for (uint32_t i = 0; i < kShards; ++i) {
    delete shards_[i].view.exchange(views[i].release());
    shards_[i].filled = extents[i].filled;
    shards_[i].erased = extents[i].erased;
  }
  retired_.clear();
  retired_bytes_ = 0;
  free_.clear();
  fresh_left_ = 0;
  blocks_.clear();
  bytes_.store(0, std::memory_order_relaxed);
  image_ = image;
  image_bytes_ = static_cast<size_t>(at - image);
}

void ReplicaIndex::place(const View& view, uint64_t hash, int64_t id, Entry entry) {
  for (uint32_t at = view.home(hash);; at = view.after(at)) {
    for (Cell& cell : view.bucket(at).cells) {
      if (cell.load().table() == 0) return cell.fill(id, entry);
    }
  }
}

void ReplicaIndex::make_room(uint64_t hash) {
  Shard& shard = shards_[shard_of(hash)];
  const View& old = *shard.view.load();
  if (shard.filled < limit(old.count_)) {
    if (image_) own_bucket(old, free_bucket(old, hash));
    return;
  }
  const size_t used = shard.filled - shard.erased;
  const size_t wanted = std::max(size_t{48}, used / Cells::kCount * 5 / 3 + 1);  // three fifths full
  if (wanted >> 32) throw std::length_error("more than a hundred billion rows in a replica");
  std::unique_ptr<View> fresh = make_view(static_cast<uint32_t>(wanted));
  for (uint32_t at = 0; at < old.count_; ++at) {
    for (const Cell& cell : old.bucket(at).cells) {
      const Entry entry = cell.load();
      if (entry.table() != 0) place(*fresh, place_hash(cell.id, entry.table()), cell.id, entry);
    }
  }
  shard.filled = used;
  shard.erased = 0;
  shard.view.store(fresh.release(), std::memory_order_release);
  retired_bytes_ += chunks_of(old.count_) * kChunkBytes;
  retired_.emplace_back(&old);  // make_view saw to the room
}

void ReplicaIndex::recycle() {
  for (const std::unique_ptr<const View>& view : retired_) {
    for (size_t i = 0; i < chunks_of(view->count_); ++i) {
      Cells* const chunk = view->chunks_[i].load(std::memory_order_relaxed);
      if (in_image(chunk)) continue;
      std::memset(static_cast<void*>(chunk), 0, kChunkBytes);
      free_.push_back(chunk);
    }
  }
  retired_.clear();
  retired_bytes_ = 0;
}

Cell* ReplicaIndex::living(uint64_t hash, uint32_t table, int64_t id) {
  const View& shard = view(hash);
  for (uint32_t at = shard.home(hash);; at = shard.after(at)) {
    const Cells& here = shard.bucket(at);
    for (size_t i = 0; i < here.cells.size(); ++i) {
      const Entry entry = here.cells[i].load();
      if (here.cells[i].id != id || entry.table() != table || entry.dead() != 0) continue;
      own_bucket(shard, at);
      return &shard.bucket(at).cells[i];
    }
    if (!here.full()) return nullptr;
  }
}

Cell& ReplicaIndex::holding(uint64_t hash, uint32_t table, uint32_t row) {
  const View& shard = view(hash);
  for (uint32_t at = shard.home(hash);; at = shard.after(at)) {
    for (Cell& cell : shard.bucket(at).cells) {
      const Entry entry = cell.load();
      if (entry.row() == row && entry.table() == table) return cell;
    }
  }
}

void ReplicaIndex::insert(uint64_t hash, int64_t id, Entry entry) {
  Shard& shard = shards_[shard_of(hash)];
  const View& view = *shard.view.load();
  for (uint32_t at = view.home(hash);; at = view.after(at)) {
    for (Cell& cell : view.bucket(at).cells) {
      const Entry there = cell.load();
      if (there.table() != 0) continue;
      if (there.bits == 0) {
        ++shard.filled;
      } else {
        --shard.erased;
      }
      return cell.fill(id, entry);
    }
  }
}

}  // namespace larix
