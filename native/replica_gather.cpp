// From ids to encoded rows to vectors, as gather.cpp does it: everything is asked for well before it is needed.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "replica.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kBatch = 64;   // keys hashed and prefetched together
constexpr size_t kBlock = 512;  // ids whose rows are found, then read
constexpr size_t kAhead = 24;   // rows asked for ahead of use

struct Reader {
  const ReplicaIndex& index;
  const ReplicaRows& rows;
  const Slot& slot;
  size_t dim;
  float missing;
  uint8_t next;
};

// Finds the rows of ids[0..count), null where there is none; returns how many have none.
LARIX_INLINE size_t find(const Reader& read, const int64_t* ids, size_t count, const char** found) {
  // Two batches are under way: the home buckets of one are on their way while ids are compared in those of the other.
  struct Key {
    uint64_t hash;
    const Cells* home;
  };
  Key keys[2][kBatch];
  size_t overflown[kBatch];
  size_t missing = 0;
  const auto ask = [&](size_t start, Key* into) {
    for (size_t at = start; at < std::min(start + kBatch, count); ++at, ++into) {
      const uint64_t hash = place_hash(ids[at], read.slot.table);
      const ReplicaIndex::View& view = read.index.view(hash);
      *into = {hash, &view.bucket(view.home(hash))};
      __builtin_prefetch(into->home, 0, 2);
    }
  };
  const auto answer = [&](size_t at, uint32_t row) {
    found[at] = row ? read.rows.at(row) : nullptr;
    missing += row == 0;
  };
  ask(0, keys[0]);
  for (size_t start = 0, turn = 0; start < count; start += kBatch, turn ^= 1) {
    ask(start + kBatch, keys[turn ^ 1]);
    size_t more = 0;  // keys that may lie beyond their home bucket
    for (size_t i = 0; i < std::min(kBatch, count - start); ++i) {
      const Key& key = keys[turn][i];
      const Cells& home = *key.home;
      const unsigned hits = home.match(ids[start + i]);
      if (hits) {
        const Entry entry = home.cells[static_cast<unsigned>(std::countr_zero(hits))].load();
        if (entry.seen(read.slot.table, read.next)) {
          answer(start + i, entry.row());
          continue;
        }
      } else if (!home.full()) {
        answer(start + i, 0);
        continue;
      }
      __builtin_prefetch(key.home + 1, 0, 2);
      overflown[more++] = i;
    }
    for (size_t n = 0; n < more; ++n) {
      const Key& key = keys[turn][overflown[n]];
      const size_t at = start + overflown[n];
      const ReplicaIndex::View& view = read.index.view(key.hash);
      answer(at, view.find(view.home(key.hash), read.slot.table, ids[at], read.next));
    }
  }
  return missing;
}

// Asks for a row if there is one; ``Dim`` here and below 0: known at run time only.
template <class Row, size_t Dim>
LARIX_INLINE void ask(const Reader& read, const char* found) {
  if (found) ReplicaRows::prefetch(found, encoded_bytes(Row::kFormat, Dim ? Dim : read.dim));
}

template <class Row, size_t Dim>
LARIX_INLINE void ask_ahead(const Reader& read, const char* const* found, size_t at, size_t end) {
  if (at + kAhead < end) ask<Row, Dim>(read, found[at + kAhead]);
}

// Adds ``weight`` times a row, or writes the row.
template <class Row, size_t Dim>
LARIX_INLINE void add(const Reader& read, const char* found, float weight, float* __restrict out) {
  const size_t dim = Dim ? Dim : read.dim;
  if (found) {
    const Row row(found);
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) out[i] += weight * row[i];
  } else {
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) out[i] += weight * read.missing;
  }
}

template <class Row, size_t Dim>
LARIX_INLINE void copy(const Reader& read, const char* found, float* __restrict out) {
  const size_t dim = Dim ? Dim : read.dim;
  if (found) {
    const Row row(found);
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) out[i] = row[i];
  } else {
    std::fill_n(out, dim, read.missing);
  }
}

template <class Row, size_t Dim>
LARIX_INLINE void pool(const Reader& read, const char* const* found, size_t first, size_t last) {
  const Slot& slot = read.slot;
  const size_t dim = Dim ? Dim : read.dim;
  const size_t begin = slot.begin(first), end = slot.begin(last) - begin;
  for (size_t sample = first; sample < last; ++sample) {
    float* __restrict out = slot.data + sample * slot.stride;
    std::memset(out, 0, dim * sizeof(float));
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at) {
      ask_ahead<Row, Dim>(read, found, at - begin, end);
      add<Row, Dim>(read, found[at - begin], slot.weights ? slot.weights[at] : 1.0f, out);
    }
    if (slot.pool == Pool::mean) {
      const float total = slot.total(sample);
      LARIX_COLUMNS
      for (size_t i = 0; i < dim; ++i) out[i] = total == 0.0f ? 0.0f : out[i] / total;
    }
  }
}

template <class Row, size_t Dim>
LARIX_INLINE void copy_sequences(const Reader& read, const char* const* found, size_t first, size_t last) {
  const Slot& slot = read.slot;
  const size_t begin = slot.begin(first), end = slot.begin(last) - begin;
  for (size_t sample = first; sample < last; ++sample) {
    float* out = slot.data + sample * slot.stride;
    size_t position = 0;
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at, ++position) {
      ask_ahead<Row, Dim>(read, found, at - begin, end);
      copy<Row, Dim>(read, found[at - begin], out + position * slot.width);
    }
    for (; position < slot.length; ++position) std::memset(out + position * slot.width, 0, read.dim * sizeof(float));
  }
}

template <class Row, size_t Dim>
LARIX_INLINE void copy_each(const Reader& read, const char* const* found, size_t first, size_t last) {
  const Slot& slot = read.slot;
  for (size_t at = 0; at < last - first; ++at) {
    float* out = slot.data + (first + at) * slot.stride;
    ask_ahead<Row, Dim>(read, found, at, last - first);
    __builtin_prefetch(out + kAhead * slot.stride, 0, 2);
    copy<Row, Dim>(read, found[at], out);
  }
}

template <class Row, size_t Dim>
LARIX_INLINE void block(const Reader& read, const char* const* found, size_t first, size_t last) {
  const size_t count = read.slot.begin(last) - read.slot.begin(first);
  for (size_t at = 0; at < std::min(kAhead, count); ++at) ask<Row, Dim>(read, found[at]);
  if (read.slot.pool == Pool::sequence) {
    copy_sequences<Row, Dim>(read, found, first, last);
  } else if (read.slot.offsets || read.slot.weights) {
    pool<Row, Dim>(read, found, first, last);
  } else {
    copy_each<Row, Dim>(read, found, first, last);
  }
}

template <class Row>
LARIX_INLINE size_t gather_rows(const Reader& read, size_t first, size_t last) {
  const Slot& slot = read.slot;
  std::array<const char*, kBlock> few;
  std::vector<const char*> many;  // for a sample with more ids than that
  size_t missing = 0;
  while (first < last) {
    const size_t begin = slot.begin(first);
    size_t end = first + 1;
    while (end < last && slot.begin(end + 1) - begin <= kBlock) ++end;
    const size_t count = slot.begin(end) - begin;
    if (count > kBlock) many.resize(count);
    const char** found = count > kBlock ? many.data() : few.data();
    missing += find(read, slot.ids + begin, count, found);
    switch (read.dim) {
      case 8: block<Row, 8>(read, found, first, end); break;
      case 16: block<Row, 16>(read, found, first, end); break;
      case 32: block<Row, 32>(read, found, first, end); break;
      case 64: block<Row, 64>(read, found, first, end); break;
      default: block<Row, 0>(read, found, first, end);
    }
    first = end;
  }
  return missing;
}

LARIX_SIMD size_t gather_fp32(const Reader& read, size_t first, size_t last) { return gather_rows<Fp32Row>(read, first, last); }
LARIX_SIMD size_t gather_bf16(const Reader& read, size_t first, size_t last) {
  return gather_rows<HalfRow<Precision::bf16>>(read, first, last);
}
LARIX_SIMD size_t gather_fp16(const Reader& read, size_t first, size_t last) {
  return gather_rows<HalfRow<Precision::fp16>>(read, first, last);
}
LARIX_SIMD size_t gather_int8(const Reader& read, size_t first, size_t last) { return gather_rows<Int8Row>(read, first, last); }

}  // namespace

size_t gather(const ReplicaIndex& index, const ReplicaRows& rows, Format format, const ReplicaTable& table, uint8_t next,
              const Slot& slot, size_t first, size_t last) {
  const Reader read{index, rows, slot, table.dim, table.missing, next};
  switch (format) {
    case Format::fp32: return gather_fp32(read, first, last);
    case Format::bf16: return gather_bf16(read, first, last);
    case Format::fp16: return gather_fp16(read, first, last);
    default: return gather_int8(read, first, last);
  }
}

}  // namespace larix
