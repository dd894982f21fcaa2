// Feature kernels: numbers through their transforms, buckets, crosses, parts of a time, ages of a history's elements.
// Each writes buffers that the caller gives and returns a status. Knows nothing of Python.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#include "features_column.hpp"
#include "features_reads.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define LARIX_FEATURES_CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define LARIX_FEATURES_CLONES
#endif

namespace larix::features {

inline constexpr int64_t kBlock = 512;  // doubles worked on at a time: 4 KiB, in the first-level cache

// log(1 + x) for x > -1, to a relative 1e-15: an arithmetic of our own rather than libm's, so that a value has the same bits
// on every machine and the loop over it vectorises. 1 + x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and
// log(1 + f) = 2 atanh(s) with s = f / (2 + f), a series in s^2. Where k is 0, f is x itself, so that a small x keeps its
// digits; elsewhere what 1 + x loses in rounding is small against k log 2. NaN gives something arbitrary.
inline double log1p(double x) {
  constexpr uint64_t kHalfRoot = 0x3FE6A09E667F3BCD;  // the bits of sqrt(1/2)
  constexpr double kLn2 = 0.693147180559945309417;
  const uint64_t t = std::bit_cast<uint64_t>(1.0 + x) - kHalfRoot + 0x3FF0000000000000;
  const double k = std::bit_cast<double>((t >> 52) | 0x4330000000000000) - (4503599627370496.0 + 1023.0);
  const double m = std::bit_cast<double>((t & 0x000FFFFFFFFFFFFF) + kHalfRoot);
  const double f = k == 0.0 ? x : m - 1.0;
  const double s = f / (2.0 + f), z = s * s;
  double series = 2.0 / 19;
  series = series * z + 2.0 / 17;
  series = series * z + 2.0 / 15;
  series = series * z + 2.0 / 13;
  series = series * z + 2.0 / 11;
  series = series * z + 2.0 / 9;
  series = series * z + 2.0 / 7;
  series = series * z + 2.0 / 5;
  series = series * z + 2.0 / 3;
  return k * kLn2 + (2.0 * s + s * z * series);
}

enum class Fill : uint8_t { value, mean, refuse };
enum class Bad : uint8_t { none, infinite, log_domain, missing };  // Status::bad of read_dense

// The transform of a dense feature. `low` and `high` are infinite, `mean` 0 and `std` 1 where not asked for.
struct Dense {
  double low, high;
  bool log;
  double mean, std;
  Fill fill;
  double fill_value;  // Fill::value: stands for the raw value; Fill::mean: is written as it is
};

inline double transformed(const Dense& dense, double x) {
  x = std::min(std::max(x, dense.low), dense.high);
  if (dense.log) x = log1p(x);
  return (x - dense.mean) / dense.std;
}

inline Bad fault(const Dense& dense, double x) {
  if (std::isnan(x)) return dense.fill == Fill::refuse ? Bad::missing : Bad::none;
  if (std::isinf(x)) return Bad::infinite;
  if (dense.log && std::min(std::max(x, dense.low), dense.high) <= -1) return Bad::log_domain;
  return std::isinf(static_cast<float>(transformed(dense, x))) ? Bad::infinite : Bad::none;
}

// Transforms up to kBlock numbers. Returns how many may be at fault or are missing, for `fault` to look at.
LARIX_FEATURES_CLONES static int64_t dense_block(const Dense& dense, const double* in, int64_t n, float fill, float* out,
                                                 int64_t stride) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  constexpr float kLargestOut = std::numeric_limits<float>::max();
  const Dense d = dense;
  double value[kBlock];
  float done[kBlock];
  int64_t odd = 0;
  if (d.log) {
    for (int64_t i = 0; i < n; ++i) {
      const double x = std::min(std::max(in[i], d.low), d.high);
      value[i] = log1p(x);
      odd += !(x > -1.0);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) value[i] = std::min(std::max(in[i], d.low), d.high);
  }
  if (d.mean != 0 || d.std != 1) {
    for (int64_t i = 0; i < n; ++i) value[i] = (value[i] - d.mean) / d.std;
  }
  for (int64_t i = 0; i < n; ++i) done[i] = static_cast<float>(value[i]);
  for (int64_t i = 0; i < n; ++i) odd += !(std::fabs(in[i]) <= kLargest);
  for (int64_t i = 0; i < n; ++i) odd += !(std::fabs(done[i]) <= kLargestOut);
  for (int64_t i = 0; i < n; ++i) out[i * stride] = in[i] != in[i] ? fill : done[i];
  return odd;
}

// Writes element j of the ranges to out[j * stride].
inline Status read_dense(const Column& column, const Ranges& ranges, const Dense& dense, float* out, int64_t stride) {
  Status status;
  const float fill = static_cast<float>(dense.fill == Fill::value ? transformed(dense, dense.fill_value) : dense.fill_value);
  stretches(ranges, column.length, [&](int64_t first, int64_t to, int64_t count) {
    double in[kBlock];
    for (int64_t done = 0; done < count && status.bad == 0; done += kBlock) {
      const int64_t n = std::min(kBlock, count - done);
      read_doubles(column, first + done, n, in);
      if (dense_block(dense, in, n, fill, out + (to + done) * stride, stride) == 0) continue;
      for (int64_t i = 0; i < n && status.bad == 0; ++i) {
        status.missing += std::isnan(in[i]);
        status.bad = static_cast<int64_t>(fault(dense, in[i]));
        if (status.bad != 0) status.at = to + done + i;
      }
    }
  });
  return status;
}

// Every element as a double, null as NaN.
inline void read_numbers(const Column& column, const Ranges& ranges, double* out) {
  stretches(ranges, column.length,
            [&](int64_t first, int64_t to, int64_t count) { read_doubles(column, first, count, out + to); });
}

// How many of `count` ascending edges are at or below x, without a branch on what x is.
inline int64_t edges_up_to(const double* edges, int64_t count, double x) {
  const double* base = edges;
  while (count > 1) {
    const int64_t half = count / 2;
    base += half * (base[half - 1] <= x);
    count -= half;
  }
  return base - edges + (count == 1 && *base <= x);
}

// 1 + the number of edges at or below the value; 0 for null and NaN. `edges` ascend.
inline Status read_buckets(const Column& column, const double* edges, int64_t count_edges, int64_t* out) {
  Status status;
  double in[kBlock];
  for (int64_t done = 0; done < column.length; done += kBlock) {
    const int64_t n = std::min(kBlock, column.length - done);
    read_doubles(column, done, n, in);
    for (int64_t i = 0; i < n; ++i) {
      const bool unknown = std::isnan(in[i]);
      status.missing += unknown;
      out[done + i] = unknown ? 0 : 1 + edges_up_to(edges, count_edges, in[i]);
    }
  }
  return status;
}

// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): one to one on 64 bits.
inline uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// One id for the ids of two columns of one length. Status::bad: 1 for a damaged element of the left, 2 of the right.
inline Status read_cross(const Column& left, const Column& right, int64_t* out) {
  Status status;
  int64_t a[kBlock], b[kBlock];
  for (int64_t done = 0; done < left.length && status.bad == 0; done += kBlock) {
    const int64_t n = std::min(kBlock, left.length - done), to[2] = {0, n};
    const Ranges block{&done, to, 1};
    if ((status.at = read_ids(left, block, a)) >= 0) status.bad = 1;
    if (status.bad == 0 && (status.at = read_ids(right, block, b)) >= 0) status.bad = 2;
    for (int64_t i = 0; i < n; ++i) {
      out[done + i] = static_cast<int64_t>(mix(mix(static_cast<uint64_t>(a[i])) ^ static_cast<uint64_t>(b[i])));
    }
  }
  return status;
}

inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// Times in ticks, of which there are `mul / div` milliseconds each, as milliseconds, rounded down.
inline void read_times(const Column& column, const Ranges& ranges, int64_t mul, int64_t div, int64_t* out) {
  read_ids(column, ranges, out);
  if (mul == 1 && div == 1) return;
  const int64_t n = ranges.starts == nullptr ? column.length : ranges.offsets[ranges.rows];
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<int64_t>(static_cast<uint64_t>(floor_div(out[i], div)) * static_cast<uint64_t>(mul));
  }
}

enum class Part : uint8_t { hour, weekday };

// The hour of the day (0 to 23) or the day of the week (Monday 0 to Sunday 6) of times in ticks as in read_times, moved by
// `shift_ms`. The epoch was a Thursday.
inline void read_time_parts(const Column& column, int64_t mul, int64_t div, Part part, int64_t shift_ms, int64_t* out) {
  read_times(column, {nullptr, nullptr, 0}, mul, div, out);
  const int64_t unit = part == Part::hour ? 3600000 : 86400000, cycle = part == Part::hour ? 24 : 7;
  for (int64_t i = 0; i < column.length; ++i) {
    const int64_t ms = static_cast<int64_t>(static_cast<uint64_t>(out[i]) + static_cast<uint64_t>(shift_ms));
    const int64_t rest = (floor_div(ms, unit) + (part == Part::weekday ? 3 : 0)) % cycle;
    out[i] = rest < 0 ? rest + cycle : rest;
  }
}

LARIX_FEATURES_CLONES static void ages_block(const int64_t* then, int64_t now, int64_t n, float* out, int64_t stride) {
  double age[kBlock];
  float done[kBlock];
  for (int64_t i = 0; i < n; ++i) age[i] = static_cast<double>(then[i]);
  for (int64_t i = 0; i < n; ++i) age[i] = log1p(std::max(static_cast<double>(now) - age[i], 0.0) * 0.001);
  for (int64_t i = 0; i < n; ++i) done[i] = static_cast<float>(age[i]);
  for (int64_t i = 0; i < n; ++i) out[i * stride] = done[i];
}

// log1p of the seconds from each element of row r, a time in ticks as in read_times, to now[r] in milliseconds; 0 for elements
// later than that.
inline void read_log_ages(const Column& column, const Ranges& ranges, int64_t mul, int64_t div, const int64_t* now,
                          float* out, int64_t stride) {
  int64_t then[kBlock];
  for (int64_t r = 0; r < ranges.rows; ++r) {
    const int64_t count = ranges.offsets[r + 1] - ranges.offsets[r];
    for (int64_t done = 0; done < count; done += kBlock) {
      const int64_t n = std::min(kBlock, count - done), start = ranges.starts[r] + done, to[2] = {0, n};
      read_times(column, {&start, to, 1}, mul, div, then);
      ages_block(then, now[r], n, out + (ranges.offsets[r] + done) * stride, stride);
    }
  }
}

// Lists of `width` numbers an element, row behind row, as `length` places a row: `mask` says which hold an element, the others
// hold zeros. False, and something half done, if offsets do not rise or a row has more elements than places.
inline bool pad(const int64_t* offsets, int64_t rows, const float* from, int64_t width, int64_t length, bool* mask, float* to) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = offsets[r + 1] - offsets[r];
    if (count < 0 || count > length) return false;
    std::fill_n(mask + r * length, count, true);
    std::fill_n(mask + r * length + count, length - count, false);
    float* const row = to + r * length * width;
    std::copy_n(from + offsets[r] * width, count * width, row);
    std::fill_n(row + count * width, (length - count) * width, 0.0f);
  }
  return true;
}

}  // namespace larix::features
