// From ids to rows to vectors. The cost is memory latency, so everything is asked for well before it is needed.
#include <algorithm>
#include <array>
#include <cstring>

#include "group.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kBatch = 64;  // keys hashed and prefetched together
constexpr size_t kAhead = 24;  // rows asked for ahead of use

// The weights behind a handle; completes the handle with the row's generation.
LARIX_INLINE const float* read(const Group& group, Handle& handle) {
  if (handle == kNoHandle) return group.nothing.data();
  char* row = group.rows.at(row_of(handle));
  handle = handle_of(row_of(handle), reinterpret_cast<const Header*>(row)->generation);
  return Rows::weights(row);
}

// Asks for the row that will be read kAhead handles after ``at``.
LARIX_INLINE void prefetch(const Group& group, const Handle* handles, size_t at, size_t end) {
  if (at + kAhead < end && handles[at + kAhead] != kNoHandle) group.rows.prefetch(row_of(handles[at + kAhead]));
}

// ``Dim`` 0: known at run time only.
template <size_t Dim>
LARIX_INLINE void copy_each(const Group& group, const Slot& slot, size_t first, size_t last) {
  const size_t dim = Dim ? Dim : group.dim;
  for (size_t at = first; at < last; ++at) {
    prefetch(group, slot.handles, at, last);
    __builtin_prefetch(slot.data + (at + kAhead) * slot.stride, 1);
    std::memcpy(slot.data + at * slot.stride, read(group, slot.handles[at]), dim * sizeof(float));
  }
}

LARIX_INLINE void copy_sequences(const Group& group, const Slot& slot, size_t first, size_t last) {
  const size_t end = slot.begin(last);
  for (size_t sample = first; sample < last; ++sample) {
    float* out = slot.data + sample * slot.stride;
    size_t position = 0;
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at, ++position) {
      prefetch(group, slot.handles, at, end);
      std::memcpy(out + position * slot.width, read(group, slot.handles[at]), group.dim * sizeof(float));
    }
    for (; position < slot.length; ++position) std::memset(out + position * slot.width, 0, group.dim * sizeof(float));
  }
}

template <size_t Dim>
LARIX_INLINE void pool(const Group& group, const Slot& slot, size_t first, size_t last) {
  const size_t dim = Dim ? Dim : group.dim;
  const size_t end = slot.begin(last);
  for (size_t sample = first; sample < last; ++sample) {
    float* __restrict out = slot.data + sample * slot.stride;
    std::memset(out, 0, dim * sizeof(float));
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at) {
      prefetch(group, slot.handles, at, end);
      const float* row = read(group, slot.handles[at]);
      const float weight = slot.weights ? slot.weights[at] : 1.0f;
      for (size_t i = 0; i < dim; ++i) out[i] += weight * row[i];
    }
    if (slot.pool == Pool::mean) {
      const float total = slot.total(sample);
      for (size_t i = 0; i < dim; ++i) out[i] = total == 0.0f ? 0.0f : out[i] / total;
    }
  }
}

template <size_t Dim>
LARIX_INLINE void gather_dim(const Group& group, const Slot& slot, size_t first, size_t last) {
  if (slot.pool == Pool::sequence) {
    copy_sequences(group, slot, first, last);
  } else if (slot.offsets || slot.weights) {
    pool<Dim>(group, slot, first, last);
  } else {
    copy_each<Dim>(group, slot, first, last);
  }
}

// Gives one missing id its row; returns whether it was new (an id may be missed many times in one call).
bool settle(Group& group, const Birth& birth, const Miss& miss) {
  Shard& shard = group.index.shard(miss.hash);
  if (const Entry* entry = shard.find(miss.hash, miss.id, miss.table)) {
    *miss.handle = entry->row;
    return false;
  }
  const uint32_t row = group.rows.take(Index::shard_of(miss.hash));
  Header& header = group.rows.header(row);
  header.id = miss.id;
  header.table = static_cast<uint16_t>(miss.table);
  float* weights = group.rows.weights(row);
  bear(birth, miss.id, weights, group.dim);
  std::fill_n(weights + group.dim, group.state(), group.optimizer.initial);
  shard.insert(miss.hash, {miss.id, row, miss.table});
  *miss.handle = row;
  return true;
}

}  // namespace

void find(const Group& group, uint32_t table, const int64_t* ids, size_t count, Handle* handles,
          std::vector<Miss>& misses) {
  // Two batches are under way: the home buckets of one are on their way while keys are compared in those of the other.
  struct Key {
    size_t at;
    uint64_t hash;
  };
  Key keys[2][kBatch], overflown[kBatch];
  const auto ask = [&](size_t start, Key* into) {
    for (size_t at = start; at < std::min(start + kBatch, count); ++at, ++into) {
      *into = {at, place_hash(ids[at], table)};
      group.index.shard(into->hash).prefetch(into->hash);
    }
  };
  const auto answer = [&](const Key& key, const Entry* entry) {
    handles[key.at] = entry ? entry->row : kNoHandle;
    if (!entry) misses.push_back({key.hash, ids[key.at], handles + key.at, table});
  };
  ask(0, keys[0]);
  for (size_t start = 0, turn = 0; start < count; start += kBatch, turn ^= 1) {
    ask(start + kBatch, keys[turn ^ 1]);
    size_t more = 0;  // keys that may lie beyond their home bucket
    for (size_t i = 0; i < std::min(kBatch, count - start); ++i) {
      const Key& key = keys[turn][i];
      const Shard& shard = group.index.shard(key.hash);
      const Bucket* home = shard.home_bucket(key.hash);
      const Entry* entry = home ? home->match(ids[key.at], table) : nullptr;
      if (entry || !home || !home->full()) {
        answer(key, entry);
      } else {
        shard.prefetch_second(key.hash);
        overflown[more++] = key;
      }
    }
    for (size_t i = 0; i < more; ++i) {
      const Key& key = overflown[i];
      answer(key, group.index.shard(key.hash).find(key.hash, ids[key.at], table));
    }
  }
}

void insert(Group& group, std::span<const Birth> births, std::span<const Miss> misses, unsigned me, unsigned threads,
            std::vector<int64_t>& born) {
  std::array<const Miss*, kBatch> mine;  // shards of others must not even be prefetched: they may be growing
  for (auto miss = misses.begin(); miss != misses.end();) {
    size_t filled = 0;
    for (; miss != misses.end() && filled < kBatch; ++miss) {
      if (Index::shard_of(miss->hash) % threads != me) continue;
      group.index.shard(miss->hash).prefetch(miss->hash);
      mine[filled++] = &*miss;
    }
    for (size_t at = 0; at < filled; ++at) {
      born[mine[at]->table] += settle(group, births[mine[at]->table], *mine[at]);
    }
  }
}

void complete(const Group& group, Handle* handles, size_t count) {
  for (size_t at = 0; at < count; ++at) {
    prefetch(group, handles, at, count);
    read(group, handles[at]);
  }
}

LARIX_SIMD void gather(const Group& group, const Slot& slot, size_t first, size_t last) {
  const size_t begin = slot.begin(first), end = slot.begin(last);
  for (size_t at = begin; at < std::min(begin + kAhead, end); ++at) {
    if (slot.handles[at] != kNoHandle) group.rows.prefetch(row_of(slot.handles[at]));
  }
  switch (group.dim) {
    case 8: return gather_dim<8>(group, slot, first, last);
    case 16: return gather_dim<16>(group, slot, first, last);
    case 32: return gather_dim<32>(group, slot, first, last);
    case 64: return gather_dim<64>(group, slot, first, last);
    default: return gather_dim<0>(group, slot, first, last);
  }
}

}  // namespace larix
