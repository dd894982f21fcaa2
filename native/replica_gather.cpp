// From ids to encoded rows to vectors, as gather.cpp does it: everything is asked for well before it is needed. Rows that are
// cold are told from hot ones by the two low bits of their address, which are zeros otherwise.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>
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
  const ReplicaShelf& shelf;
  const PageReaders& disk;
  const Slot& slot;
  size_t dim;
  float missing;
  uint8_t next;
};

constexpr uintptr_t kInt8 = 1;    // at this address less one lies an int8 row
constexpr uintptr_t kOnDisk = 2;  // no address: a row number, shifted
const char* int8_tag(const char* row) { return row + kInt8; }
const char* disk_tag(uint32_t row) { return reinterpret_cast<const char*>(uintptr_t{row} << 2 | kOnDisk); }
LARIX_INLINE bool is_int8(const char* found) { return reinterpret_cast<uintptr_t>(found) & kInt8; }
LARIX_INLINE bool is_on_disk(const char* found) { return reinterpret_cast<uintptr_t>(found) & kOnDisk; }
LARIX_INLINE uint32_t disk_row(const char* found) { return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(found) >> 2); }

// Finds the rows of ids[0..count), null where there is none.
template <bool Leveled>
LARIX_INLINE void find(const Reader& read, const int64_t* ids, size_t count, const char** found, Found& sum) {
  // Two batches are under way: the home buckets of one are on their way while ids are compared in those of the other.
  struct Key {
    uint64_t hash;
    const Cells* home;
  };
  Key keys[2][kBatch];
  size_t overflown[kBatch];
  const auto ask = [&](size_t start, Key* into) {
    for (size_t at = start; at < std::min(start + kBatch, count); ++at, ++into) {
      const uint64_t hash = place_hash(ids[at], read.slot.table);
      const ReplicaIndex::View& view = read.index.view(hash);
      *into = {hash, &view.bucket(view.home(hash))};
      __builtin_prefetch(into->home, 0, 2);
    }
  };
  size_t missing = 0, cold = 0;
  const auto answer = [&](size_t at, uint32_t row) {
    missing += row == 0;
    if constexpr (Leveled) {
      cold += ReplicaShelf::is_cold(row);
      if (ReplicaShelf::is_cold(row)) {
        found[at] = read.shelf.on_disk(row) ? disk_tag(row) : int8_tag(read.shelf.int8(row));
        return;
      }
    }
    found[at] = row ? read.shelf.hot(row) : nullptr;
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
  sum.missing += missing;
  sum.cold += cold;
}

// Notes that ids were used that come to be sampled: one in kSampled of a reader's, the first of them at ``first``.
void note_uses(const Reader& read, const int64_t* ids, size_t first, size_t count) {
  std::array<uint32_t, kBlock / kSampled + 1> rows;
  while (first < count) {
    size_t used = 0;
    for (; first < count && used < rows.size(); first += kSampled) {
      const uint64_t hash = place_hash(ids[first], read.slot.table);
      const ReplicaIndex::View& view = read.index.view(hash);
      const uint32_t row = view.find(view.home(hash), read.slot.table, ids[first], read.next);
      if (row == 0) continue;
      read.shelf.prefetch_uses(row);
      rows[used++] = row;
    }
    for (size_t i = 0; i < used; ++i) read.shelf.use(rows[i]);
  }
}

// Reads the rows that are on disk, each once, into ``into``.
Status fetch(const Reader& read, const char** found, size_t count, std::vector<char>& into) {
  std::vector<std::pair<uint32_t, uint32_t>> asked;  // row, place in found
  for (size_t at = 0; at < count; ++at) {
    if (is_on_disk(found[at])) asked.emplace_back(disk_row(found[at]), static_cast<uint32_t>(at));
  }
  if (asked.empty()) return {};
  std::sort(asked.begin(), asked.end());
  const size_t stride = read.shelf.hot_stride();
  into.resize(asked.size() * stride);
  std::vector<RowFile::Wanted> wanted;
  for (size_t i = 0; i < asked.size(); ++i) {
    if (i == 0 || asked[i].first != asked[i - 1].first) {
      wanted.push_back({asked[i].first, into.data() + wanted.size() * stride});
    }
    found[asked[i].second] = wanted.back().into;
  }
  return read.shelf.read(wanted, read.disk);
}

// Asks for a row if there is one; ``Dim`` here and below 0: known at run time only.
template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void ask(const Reader& read, const char* found) {
  const size_t dim = Dim ? Dim : read.dim;
  if (Leveled && is_int8(found)) return ReplicaRows::prefetch(found - kInt8, encoded_bytes(Format::int8, dim));
  if (found) ReplicaRows::prefetch(found, encoded_bytes(Row::kFormat, dim));
}

template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void ask_ahead(const Reader& read, const char* const* found, size_t at, size_t end) {
  if (at + kAhead < end) ask<Row, Leveled, Dim>(read, found[at + kAhead]);
}

template <class Row>
LARIX_INLINE void add_row(const Row row, size_t dim, float weight, float* __restrict out) {
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) out[i] += weight * row[i];
}

// Adds ``weight`` times a row, or writes the row.
template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void add(const Reader& read, const char* found, float weight, float* __restrict out) {
  const size_t dim = Dim ? Dim : read.dim;
  if (!found) {
    LARIX_COLUMNS
    for (size_t i = 0; i < dim; ++i) out[i] += weight * read.missing;
  } else if (Leveled && is_int8(found)) {
    add_row(Int8Row(found - kInt8), dim, weight, out);
  } else {
    add_row(Row(found), dim, weight, out);
  }
}

template <class Row>
LARIX_INLINE void copy_row(const Row row, size_t dim, float* __restrict out) {
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) out[i] = row[i];
}

template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void copy(const Reader& read, const char* found, float* __restrict out) {
  const size_t dim = Dim ? Dim : read.dim;
  if (!found) {
    std::fill_n(out, dim, read.missing);
  } else if (Leveled && is_int8(found)) {
    copy_row(Int8Row(found - kInt8), dim, out);
  } else {
    copy_row(Row(found), dim, out);
  }
}

template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void pool(const Reader& read, const char* const* found, size_t first, size_t last) {
  const Slot& slot = read.slot;
  const size_t dim = Dim ? Dim : read.dim;
  const size_t begin = slot.begin(first), end = slot.begin(last) - begin;
  for (size_t sample = first; sample < last; ++sample) {
    float* __restrict out = slot.data + sample * slot.stride;
    std::memset(out, 0, dim * sizeof(float));
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at) {
      ask_ahead<Row, Leveled, Dim>(read, found, at - begin, end);
      add<Row, Leveled, Dim>(read, found[at - begin], slot.weights ? slot.weights[at] : 1.0f, out);
    }
    if (slot.pool == Pool::mean) {
      const float total = slot.total(sample);
      LARIX_COLUMNS
      for (size_t i = 0; i < dim; ++i) out[i] = total == 0.0f ? 0.0f : out[i] / total;
    }
  }
}

template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void copy_sequences(const Reader& read, const char* const* found, size_t first, size_t last) {
  const Slot& slot = read.slot;
  const size_t begin = slot.begin(first), end = slot.begin(last) - begin;
  for (size_t sample = first; sample < last; ++sample) {
    float* out = slot.data + sample * slot.stride;
    size_t position = 0;
    for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at, ++position) {
      ask_ahead<Row, Leveled, Dim>(read, found, at - begin, end);
      copy<Row, Leveled, Dim>(read, found[at - begin], out + position * slot.width);
    }
    for (; position < slot.length; ++position) std::memset(out + position * slot.width, 0, read.dim * sizeof(float));
  }
}

template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void copy_each(const Reader& read, const char* const* found, size_t first, size_t last) {
  const Slot& slot = read.slot;
  for (size_t at = 0; at < last - first; ++at) {
    float* out = slot.data + (first + at) * slot.stride;
    ask_ahead<Row, Leveled, Dim>(read, found, at, last - first);
    __builtin_prefetch(out + kAhead * slot.stride, 0, 2);
    copy<Row, Leveled, Dim>(read, found[at], out);
  }
}

template <class Row, bool Leveled, size_t Dim>
LARIX_INLINE void block(const Reader& read, const char* const* found, size_t first, size_t last) {
  const size_t count = read.slot.begin(last) - read.slot.begin(first);
  for (size_t at = 0; at < std::min(kAhead, count); ++at) ask<Row, Leveled, Dim>(read, found[at]);
  if (read.slot.pool == Pool::sequence) {
    copy_sequences<Row, Leveled, Dim>(read, found, first, last);
  } else if (read.slot.offsets || read.slot.weights) {
    pool<Row, Leveled, Dim>(read, found, first, last);
  } else {
    copy_each<Row, Leveled, Dim>(read, found, first, last);
  }
}

template <class Row, bool Leveled>
LARIX_INLINE Found gather_rows(const Reader& read, size_t first, size_t last, size_t before) {
  const Slot& slot = read.slot;
  std::array<const char*, kBlock> few;
  std::vector<const char*> many;  // for a sample with more ids than that
  std::vector<char> fetched;
  Found sum;
  size_t sampled = kSampled - 1 - (before + slot.begin(first)) % kSampled;
  while (first < last) {
    const size_t begin = slot.begin(first);
    size_t end = first + 1;
    while (end < last && slot.begin(end + 1) - begin <= kBlock) ++end;
    const size_t count = slot.begin(end) - begin;
    if (count > kBlock) many.resize(count);
    const char** found = count > kBlock ? many.data() : few.data();
    find<Leveled>(read, slot.ids + begin, count, found, sum);
    if constexpr (Leveled) {
      note_uses(read, slot.ids + begin, sampled, count);
      sampled = sampled < count ? kSampled - 1 - (count - 1 - sampled) % kSampled : sampled - count;
      sum.status = fetch(read, found, count, fetched);
      if (!sum.status.ok()) return sum;
    }
    switch (read.dim) {
      case 8: block<Row, Leveled, 8>(read, found, first, end); break;
      case 16: block<Row, Leveled, 16>(read, found, first, end); break;
      case 32: block<Row, Leveled, 32>(read, found, first, end); break;
      case 64: block<Row, Leveled, 64>(read, found, first, end); break;
      default: block<Row, Leveled, 0>(read, found, first, end);
    }
    first = end;
  }
  return sum;
}

#define LARIX_GATHER(name, Row, Leveled)                                                        \
  LARIX_SIMD Found name(const Reader& read, size_t first, size_t last, size_t before) {         \
    return gather_rows<Row, Leveled>(read, first, last, before);                                \
  }
LARIX_GATHER(gather_fp32, Fp32Row, false)
LARIX_GATHER(gather_bf16, HalfRow<Precision::bf16>, false)
LARIX_GATHER(gather_fp16, HalfRow<Precision::fp16>, false)
LARIX_GATHER(gather_int8, Int8Row, false)
LARIX_GATHER(gather_leveled_fp32, Fp32Row, true)
LARIX_GATHER(gather_leveled_bf16, HalfRow<Precision::bf16>, true)
LARIX_GATHER(gather_leveled_fp16, HalfRow<Precision::fp16>, true)
LARIX_GATHER(gather_leveled_int8, Int8Row, true)
#undef LARIX_GATHER

using Gather = Found (*)(const Reader&, size_t, size_t, size_t);
constexpr Gather kGathers[2][4] = {
    {gather_fp32, gather_bf16, gather_fp16, gather_int8},
    {gather_leveled_fp32, gather_leveled_bf16, gather_leveled_fp16, gather_leveled_int8},
};

}  // namespace

Found gather(const ReplicaIndex& index, const ReplicaShelf& shelf, const PageReaders& disk, Format format,
             const ReplicaTable& table, uint8_t next, const Slot& slot, size_t first, size_t last, size_t before) {
  if (first == last) return {};
  const Reader read{index, shelf, disk, slot, table.dim, table.missing, next};
  return kGathers[shelf.leveled()][static_cast<size_t>(format)](read, first, last, before);
}

}  // namespace larix
