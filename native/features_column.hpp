// Columns in Arrow's memory layout, read in place: values, validity bits, list offsets, each with the offset of a slice.
// Knows nothing of Python or of what a column means.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "xxh3.hpp"

namespace larix::features {

enum class Kind : uint8_t { boolean, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64, text32, text64 };

// A column without nesting. text32 and text64: `values` are the bytes (`bytes` of them), `offsets` of 32 or 64 bits.
// `validity` is null when no element is null. Element i lies at `offset + i` of every buffer.
struct Column {
  Kind kind;
  const void* values;
  const void* offsets;
  const uint8_t* validity;
  int64_t offset, length, bytes;

  bool known(int64_t i) const {
    const int64_t at = offset + i;
    return validity == nullptr || ((validity[at >> 3] >> (at & 7)) & 1);
  }
};

// A list column over a child column of `child` elements: `width` is 4 or 8 bytes an offset, or 0 for lists of `fixed` elements.
struct Lists {
  int width;
  const void* offsets;
  int64_t fixed;
  const uint8_t* validity;
  int64_t offset, rows, child;

  struct Span {
    int64_t begin, end;
  };

  // The child elements of row i; a null row has none.
  Span span(int64_t i) const {
    const int64_t at = offset + i;
    if (validity != nullptr && !((validity[at >> 3] >> (at & 7)) & 1)) return {0, 0};
    if (width == 0) return {at * fixed, (at + 1) * fixed};
    if (width == 4) {
      const auto* o = static_cast<const int32_t*>(offsets);
      return {o[at], o[at + 1]};
    }
    const auto* o = static_cast<const int64_t*>(offsets);
    return {o[at], o[at + 1]};
  }
};

// Which elements to read, and where they go: row r reads elements from `starts[r]` into `offsets[r] .. offsets[r + 1]`.
// Without `starts` the whole column is read in order.
struct Ranges {
  const int64_t* starts;
  const int64_t* offsets;
  int64_t rows;
};

// Calls f(first element, first output, count) for each stretch; rows that touch are joined, so that stretches are long.
template <class F>
void stretches(const Ranges& ranges, int64_t length, F&& f) {
  if (ranges.starts == nullptr) {
    if (length > 0) f(0, 0, length);
    return;
  }
  for (int64_t r = 0; r < ranges.rows;) {
    const int64_t first = ranges.starts[r], out = ranges.offsets[r];
    int64_t count = ranges.offsets[++r] - out;
    while (r < ranges.rows && (ranges.starts[r] == first + count || ranges.offsets[r + 1] == ranges.offsets[r])) {
      count += ranges.offsets[r + 1] - ranges.offsets[r];
      ++r;
    }
    if (count > 0) f(first, out, count);
  }
}

// Fills `starts` [rows] and `offsets` [rows + 1] with the last `newest` elements of every row. Returns the first row whose
// offsets do not lie in the child, or -1.
inline int64_t newest_ranges(const Lists& lists, int64_t newest, int64_t* starts, int64_t* offsets) {
  offsets[0] = 0;
  for (int64_t r = 0; r < lists.rows; ++r) {
    const auto [begin, end] = lists.span(r);
    if (begin < 0 || begin > end || end > lists.child) return r;
    const int64_t count = std::min(newest, end - begin);
    starts[r] = end - count;
    offsets[r + 1] = offsets[r] + count;
  }
  return -1;
}

// The first row in which the two list columns hold lists of different lengths, or -1.
inline int64_t first_mismatch(const Lists& a, const Lists& b) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const auto x = a.span(r), y = b.span(r);
    if (x.end - x.begin != y.end - y.begin) return r;
  }
  return -1;
}

// Writes 1 for every element that is not null, else 0. Returns how many are null.
inline int64_t read_known(const Column& column, const Ranges& ranges, uint8_t* out) {
  int64_t nulls = 0;
  stretches(ranges, column.length, [&](int64_t first, int64_t to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      out[to + i] = column.known(first + i);
      nulls += !out[to + i];
    }
  });
  return nulls;
}

template <class T, class Out>
void convert(const Column& column, int64_t first, int64_t count, Out* out) {
  const T* values = static_cast<const T*>(column.values) + column.offset + first;
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<Out>(values[i]);
}

template <class Out>
void convert_bits(const Column& column, int64_t first, int64_t count, Out* out) {
  const auto* bits = static_cast<const uint8_t*>(column.values);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = column.offset + first + i;
    out[i] = static_cast<Out>((bits[at >> 3] >> (at & 7)) & 1);
  }
}

// Hashes strings. Returns the first one whose offsets do not lie in its bytes, or -1.
template <class Offset>
int64_t hash_texts(const Column& column, int64_t first, int64_t count, int64_t* out) {
  const Offset* offsets = static_cast<const Offset*>(column.offsets) + column.offset + first;
  const auto* bytes = static_cast<const uint8_t*>(column.values);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = offsets[i], end = offsets[i + 1];
    if (begin < 0 || begin > end || end > column.bytes) return first + i;
    out[i] = static_cast<int64_t>(xxh3::hash(bytes + begin, static_cast<uint64_t>(end - begin)));
  }
  return -1;
}

// Ids as 64-bit patterns: integers as they are, strings by XXH3-64; nulls leave something arbitrary. Not for floats.
// Returns the first damaged element, or -1.
inline int64_t read_ids(const Column& column, const Ranges& ranges, int64_t* ids) {
  int64_t damaged = -1;
  stretches(ranges, column.length, [&](int64_t first, int64_t to, int64_t count) {
    int64_t* out = ids + to;
    int64_t wrong = -1;
    switch (column.kind) {
      case Kind::boolean: convert_bits(column, first, count, out); break;
      case Kind::i8: convert<int8_t>(column, first, count, out); break;
      case Kind::u8: convert<uint8_t>(column, first, count, out); break;
      case Kind::i16: convert<int16_t>(column, first, count, out); break;
      case Kind::u16: convert<uint16_t>(column, first, count, out); break;
      case Kind::i32: convert<int32_t>(column, first, count, out); break;
      case Kind::u32: convert<uint32_t>(column, first, count, out); break;
      case Kind::text32: wrong = hash_texts<int32_t>(column, first, count, out); break;
      case Kind::text64: wrong = hash_texts<int64_t>(column, first, count, out); break;
      default:
        std::memcpy(out, static_cast<const int64_t*>(column.values) + column.offset + first,
                    static_cast<size_t>(count) * sizeof(int64_t));
    }
    if (damaged < 0) damaged = wrong;
  });
  return damaged;
}

// Elements first .. first + count as doubles, null as NaN. Not for strings.
inline void read_doubles(const Column& column, int64_t first, int64_t count, double* out) {
  switch (column.kind) {
    case Kind::boolean: convert_bits(column, first, count, out); break;
    case Kind::i8: convert<int8_t>(column, first, count, out); break;
    case Kind::u8: convert<uint8_t>(column, first, count, out); break;
    case Kind::i16: convert<int16_t>(column, first, count, out); break;
    case Kind::u16: convert<uint16_t>(column, first, count, out); break;
    case Kind::i32: convert<int32_t>(column, first, count, out); break;
    case Kind::u32: convert<uint32_t>(column, first, count, out); break;
    case Kind::u64: convert<uint64_t>(column, first, count, out); break;
    case Kind::f32: convert<float>(column, first, count, out); break;
    case Kind::f64: convert<double>(column, first, count, out); break;
    default: convert<int64_t>(column, first, count, out);
  }
  if (column.validity == nullptr) return;
  for (int64_t i = 0; i < count; ++i) {
    if (!column.known(first + i)) out[i] = std::numeric_limits<double>::quiet_NaN();
  }
}

}  // namespace larix::features
