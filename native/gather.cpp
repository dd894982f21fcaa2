// From ids to rows to vectors. The cost is memory latency, so everything is asked for well before it is needed.
#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "group.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kBatch = Shard::kTogether;  // keys hashed and prefetched together
constexpr size_t kAhead = 24;  // rows asked for ahead of use
constexpr size_t kFar = 4;     // batches that ids are asked for ahead of use

struct Reader {
  const Group& group;
  const Slot& slot;
  std::vector<Miss>& misses;
  bool asked;  // whether rows have been asked for
  const char* nothing = group.nothing[slot.table].data();

  // The weights behind a handle, which is completed.
  LARIX_INLINE const char* operator()(size_t at) const {
    Handle& handle = slot.handles[at];
    if (!has_row(handle)) return nothing;
    char* row = group.rows.at(row_of(handle));
    const Header& header = *reinterpret_cast<const Header*>(row);
    if ((header.id != slot.ids[at]) | (header.table != slot.table)) [[unlikely]] {
      row = again(at);
      if (!row) return nothing;
    }
    handle = handle_of(row_of(handle), reinterpret_cast<const Header*>(row)->generation);
    return Group::weights_of(row);
  }

  // A tag was that of another id: all rows with this tag are looked at.
  __attribute__((noinline)) char* again(size_t at) const {
    const int64_t id = slot.ids[at];
    const uint64_t hash = place_hash(id, slot.table);
    const uint32_t row = group.find(hash, slot.table, id);
    slot.handles[at] = row == kNoRow ? kNoHandle : row;
    if (row != kNoRow) return group.rows.at(row);
    misses.push_back({hash, id, slot.handles + at, slot.table});
    return nullptr;
  }
};

// Asks for the row that will be read kAhead handles after ``at``.
LARIX_INLINE void prefetch(const Reader& read, size_t at, size_t end) {
  if (read.asked || at + kAhead >= end) return;
  if (const Handle later = read.slot.handles[at + kAhead]; has_row(later)) read.group.rows.prefetch_far(row_of(later));
}

// ``to``: where the slot's vectors go. ``Dim`` 0: known at run time only.
template <Precision precision, size_t Dim, class Number>
LARIX_INLINE void copy_each(const Reader& read, Number* to, size_t first, size_t last) {
  const auto& [group, slot, misses, asked, nothing] = read;
  const size_t dim = Dim ? Dim : group.dim;
  for (size_t at = first; at < last; ++at) {
    prefetch(read, at, last);
    const Number* later = to + (at + kAhead) * slot.stride;
    __builtin_prefetch(later, 0, 2);
    if (reinterpret_cast<uintptr_t>(later) % 64 + dim * sizeof(Number) > 64) __builtin_prefetch(later + dim - 1, 0, 2);
    load<precision>(read(at), to + at * slot.stride, dim);
  }
}

template <Precision precision>
LARIX_INLINE void copy_sequences(const Reader& read, size_t first, size_t last) {
  const auto& [group, slot, misses, asked, nothing] = read;
  const size_t end = slot.begin(last);
  for (size_t sample = first; sample < last; ++sample) {
    float* out = slot.data + sample * slot.stride;
    size_t position = 0;
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at, ++position) {
      prefetch(read, at, end);
      load<precision>(read(at), out + position * slot.width, group.dim);
    }
    for (; position < slot.length; ++position) std::memset(out + position * slot.width, 0, group.dim * sizeof(float));
  }
}

// Bfloat16 is rounded to once, from the pooled vector.
template <Precision precision, size_t Dim, class Number>
LARIX_INLINE void pool(const Reader& read, Number* to, size_t first, size_t last) {
  constexpr bool whole = std::is_same_v<Number, float>;
  const auto& [group, slot, misses, asked, nothing] = read;
  const size_t dim = Dim ? Dim : group.dim;
  const size_t end = slot.begin(last);
  std::vector<float> sum(whole ? 0 : dim);
  for (size_t sample = first; sample < last; ++sample) {
    float* __restrict out = sum.data();
    if constexpr (whole) out = to + sample * slot.stride;
    std::memset(out, 0, dim * sizeof(float));
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at) {
      prefetch(read, at, end);
      const char* weights = read(at);
      const float weight = slot.weights ? slot.weights[at] : 1.0f;
      LARIX_COLUMNS
      for (size_t i = 0; i < dim; ++i) out[i] += weight * weight_at<precision>(weights, i);
    }
    if (slot.pool == Pool::mean) {
      const float total = slot.total(sample);
      LARIX_COLUMNS
      for (size_t i = 0; i < dim; ++i) out[i] = total == 0.0f ? 0.0f : out[i] / total;
    }
    if constexpr (!whole) load<Precision::fp32>(reinterpret_cast<const char*>(out), to + sample * slot.stride, dim);
  }
}

template <Precision precision, size_t Dim, class Number>
LARIX_INLINE void gather_to(const Reader& read, Number* to, size_t first, size_t last) {
  if (read.slot.offsets || read.slot.weights) {
    pool<precision, Dim>(read, to, first, last);
  } else {
    copy_each<precision, Dim>(read, to, first, last);
  }
}

template <Precision precision, size_t Dim>
LARIX_INLINE void gather_dim(const Reader& read, size_t first, size_t last) {
  if (read.slot.pool == Pool::sequence) {
    copy_sequences<precision>(read, first, last);
  } else if (read.slot.halves) {
    gather_to<precision, Dim>(read, read.slot.halves, first, last);
  } else {
    gather_to<precision, Dim>(read, read.slot.data, first, last);
  }
}

template <Precision precision>
LARIX_INLINE void gather_precision(const Reader& read, size_t first, size_t last) {
  switch (read.group.dim) {
    case 8: return gather_dim<precision, 8>(read, first, last);
    case 16: return gather_dim<precision, 16>(read, first, last);
    case 32: return gather_dim<precision, 32>(read, first, last);
    case 64: return gather_dim<precision, 64>(read, first, last);
    default: return gather_dim<precision, 0>(read, first, last);
  }
}

}  // namespace

namespace {

// Finds rows of ids batch by batch. Two are under way: the home buckets of one are on their way while tags are compared in
// those of the other.
class Finder {
 public:
  // ``ask_rows``: whether rows that are found are asked for, as they will be read at once.
  LARIX_INLINE Finder(const Group& group, uint32_t table, std::span<const int64_t> ids, Handle* handles,
                      std::vector<Miss>& misses, bool ask_rows)
      : group_(group), table_(table), ids_(ids), handles_(handles), misses_(misses), ask_rows_(ask_rows) {
    ask(0, std::min(kBatch, ids.size()));
  }

  // Sets the handles of a batch; returns how many of all are set then.
  LARIX_INLINE size_t next() {
    const size_t end = std::min(done_ + kBatch, ids_.size());
    ask(end, std::min(end + kBatch, ids_.size()));
    size_t over[kBatch], more = 0;  // keys that may lie beyond their home bucket
    const Batch& batch = batches_[done_ / kBatch % 2];
    for (size_t at = done_; at < end; ++at) {
      const uint64_t hash = batch.hashes[at - done_];
      const Bucket& home = *batch.homes[at - done_];
      const unsigned hits = home.match(Index::tag_of(hash));
      if (hits) [[likely]] {
        answer(at, hash, home.rows[static_cast<unsigned>(std::countr_zero(hits))]);
      } else if (!home.full()) {
        answer(at, hash, kNoRow);
      } else {
        group_.index.shard(hash, table_).prefetch_second(Index::tag_of(hash));
        over[more++] = at;
      }
    }
    for (size_t i = 0; i < more; ++i) {
      const uint64_t hash = batch.hashes[over[i] - done_];
      answer(over[i], hash, group_.index.shard(hash, table_).find(Index::tag_of(hash), [](uint32_t) { return true; }));
    }
    return done_ = end;
  }

 private:
  struct Batch {
    alignas(64) uint64_t hashes[kBatch];
    const Bucket* homes[kBatch];
  };

  // Hashes the ids [first, end) and asks for their home buckets.
  LARIX_INLINE void ask(size_t first, size_t end) {
    if (first == end) return;
    Batch& batch = batches_[first / kBatch % 2];
    const int64_t* const ids = ids_.data() + first;
    const size_t count = end - first;
    const uint64_t salt = place_salt(table_);
    for (size_t at = 0; at < kBatch; at += 8) {  // a line of each; the hardware would ask too late for the first of a page
      __builtin_prefetch(ids + kFar * kBatch + at);
      __builtin_prefetch(handles_ + first + kBatch + at, 1);
    }
    LARIX_COLUMNS
    for (size_t at = 0; at < count; ++at) batch.hashes[at] = place_hash_with(salt, ids[at]);
    if (const Shard* only = group_.index.only(table_)) {
      only->homes(batch.hashes, count, batch.homes);
    } else {
      for (size_t at = 0; at < count; ++at) {
        group_.index.shard(batch.hashes[at], table_).homes(&batch.hashes[at], 1, &batch.homes[at]);
      }
    }
  }

  LARIX_INLINE void answer(size_t at, uint64_t hash, uint32_t row) {
    if (row == kNoRow) [[unlikely]] {
      handles_[at] = kNoHandle;
      misses_.push_back({hash, ids_[at], handles_ + at, table_});
      return;
    }
    handles_[at] = row;
    if (ask_rows_) group_.rows.prefetch_far(row);
  }

  const Group& group_;
  const uint32_t table_;
  const std::span<const int64_t> ids_;
  Handle* const handles_;
  std::vector<Miss>& misses_;
  const bool ask_rows_;
  size_t done_ = 0;
  Batch batches_[2];
};

}  // namespace

LARIX_SIMD void find(const Group& group, uint32_t table, const int64_t* ids, size_t count, Handle* handles,
          std::vector<Miss>& misses) {
  Finder finder(group, table, {ids, count}, handles, misses, false);
  while (finder.next() < count) {
  }
}

LARIX_SIMD size_t find_and_gather(const Group& group, const Slot& slot, size_t first, size_t last, bool pause,
                       std::vector<Miss>& misses) {
  const size_t begin = slot.begin(first), end = slot.begin(last), before = misses.size();
  Finder finder(group, slot.table, {slot.ids + begin, end - begin}, slot.handles + begin, misses, true);
  size_t sample = first;
  for (size_t found = begin; sample < last;) {
    const size_t asked = found;  // by now on their way for a batch
    if (found < end) found = begin + finder.next();
    if (pause && misses.size() != before) {
      while (found < end) found = begin + finder.next();
      return sample;
    }
    size_t upto = sample;
    if (asked == end) {
      upto = last;
    } else if (!slot.offsets) {
      upto = asked;
    } else {
      while (slot.begin(upto + 1) <= asked) ++upto;
    }
    gather(group, slot, sample, upto, misses, true);
    if (pause && misses.size() != before) upto = first;  // a tag was that of another id
    sample = upto;
  }
  return sample;
}

void verify(const Group& group, uint32_t table, const int64_t* ids, size_t count, Handle* handles,
            std::vector<Miss>& misses) {
  Slot slot{.table = table, .ids = ids, .count = count, .samples = count, .handles = handles};
  const Reader read{group, slot, misses, false};
  for (size_t at = 0; at < count; ++at) {
    prefetch(read, at, count);
    read(at);
  }
}

namespace {

// Lines of the buffer are asked for ahead: each sample's is another page's.
template <class Number>
LARIX_INLINE void place_to(const Slot& slot, const float* vectors, Number* to) {
  for (size_t at = 0; at < slot.samples; ++at) {
    const Number* later = to + (at + kAhead) * slot.stride;
    __builtin_prefetch(later, 1);
    __builtin_prefetch(later + slot.width - 1, 1);
    load<Precision::fp32>(reinterpret_cast<const char*>(vectors + at * slot.width), to + at * slot.stride, slot.width);
  }
}

}  // namespace

LARIX_SIMD void place(const Slot& slot, const float* vectors) {
  if (slot.halves) return place_to(slot, vectors, slot.halves);
  place_to(slot, vectors, slot.data);
}

LARIX_SIMD void gather(const Group& group, const Slot& slot, size_t first, size_t last, std::vector<Miss>& misses,
                       bool asked) {
  const size_t begin = slot.begin(first), end = slot.begin(last);
  for (size_t at = begin; !asked && at < std::min(begin + kAhead, end); ++at) {
    if (has_row(slot.handles[at])) group.rows.prefetch_far(row_of(slot.handles[at]));
  }
  const Reader read{group, slot, misses, asked};
  switch (group.precision) {
    case Precision::fp32: return gather_precision<Precision::fp32>(read, first, last);
    case Precision::bf16: return gather_precision<Precision::bf16>(read, first, last);
    case Precision::fp16: return gather_precision<Precision::fp16>(read, first, last);
  }
}

}  // namespace larix
