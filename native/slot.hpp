// One slot's share of a call: ids in, a strided buffer of floats or bfloat16 to read or write, and the handles that tie the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace larix {

enum class Pool { sum = 0, mean = 1, sequence = 2 };

// Low 32 bits: row number. Above it 16 bits: the generation of that row number when the row was read.
using Handle = uint64_t;
inline constexpr Handle kNoHandle = ~Handle{0};
inline constexpr Handle kRefused = kNoHandle - 1;  // of an id that training met and gave no row
inline bool has_row(Handle handle) { return handle < kRefused; }
inline uint32_t row_of(Handle handle) { return static_cast<uint32_t>(handle); }
inline uint16_t generation_of(Handle handle) { return static_cast<uint16_t>(handle >> 32); }
inline Handle handle_of(uint32_t row, uint16_t generation) { return Handle{generation} << 32 | row; }

struct Slot {
  uint32_t table = 0;  // number of the table, from 1
  Pool pool = Pool::sum;
  const int64_t* ids = nullptr;
  size_t count = 0;
  const int64_t* offsets = nullptr;  // null: one id a sample
  const float* weights = nullptr;    // null: all 1
  size_t samples = 0;
  float* data = nullptr;       // vectors to be written by gather, their gradients to be read by apply
  uint16_t* halves = nullptr;  // or these, if not null: the same as bfloat16; of no sequence
  size_t stride = 0;           // numbers from sample to sample
  size_t length = 0;           // of a sequence: positions a sample, ``width`` floats apart
  size_t width = 0;
  Handle* handles = nullptr;

  size_t begin(size_t sample) const { return offsets ? static_cast<size_t>(offsets[sample]) : sample; }

  // Whether offsets rise from 0 to count and no sequence is longer than its output.
  bool sound() const {
    if (!offsets) return count == samples;
    bool good = offsets[0] == 0 && offsets[samples] == static_cast<int64_t>(count);
    const auto limit = pool == Pool::sequence ? static_cast<int64_t>(length) : INT64_MAX;
    for (size_t i = 0; i < samples; ++i) {
      good &= offsets[i + 1] >= offsets[i];
      good &= offsets[i + 1] - static_cast<uint64_t>(offsets[i]) <= static_cast<uint64_t>(limit);
    }
    return good;
  }

  // The samples [first, last) alone, without handles; it is as sound as the whole.
  Slot of(size_t first, size_t last) const {
    Slot some = *this;
    some.samples = last - first;
    some.count = begin(last) - begin(first);
    if (data) some.data += first * stride;
    if (halves) some.halves += first * stride;
    some.handles = nullptr;
    if (offsets) {
      some.offsets += first;  // which go on pointing into all ids
    } else {
      some.ids += first;
      if (weights) some.weights += first;
    }
    return some;
  }

  // What the pooled vector of a sample is divided by: 1, or for a mean its weights added in order.
  float total(size_t sample) const {
    if (pool != Pool::mean) return 1.0f;
    const size_t first = begin(sample), last = begin(sample + 1);
    if (!weights) return static_cast<float>(last - first);
    float sum = 0.0f;
    for (size_t i = first; i < last; ++i) sum += weights[i];
    return sum;
  }
};

// The samples [first, last) of ``count`` that thread ``me`` of ``threads`` takes.
inline std::pair<size_t, size_t> part(size_t count, unsigned me, unsigned threads) {
  return {count * me / threads, count * (me + 1) / threads};
}

}  // namespace larix
