// Feature kernels: numbers through their transforms, buckets, crosses, parts of a time, ages of a history's elements.
// Each writes buffers that the caller gives and returns a status. Knows nothing of Python.
#pragma once

#include <bit>
#include <cmath>

#include "features_column.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define LARIX_FEATURES_CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define LARIX_FEATURES_CLONES
#endif

namespace larix::features {

inline constexpr int64_t kBlock = 512;  // doubles worked on at a time: 4 KiB, in the first-level cache

// log(1 + x) for x > -1, to about 1e-15: an arithmetic of our own rather than libm's, so that a value has the same bits on
// every machine. 1 + x = 2^k m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s) with s = (m - 1) / (m + 1), a series in s^2;
// what 1 + x lost in rounding comes back as x's remainder over 1 + x. NaN gives something arbitrary.
inline double log1p(double x) {
  constexpr uint64_t kHalfRoot = 0x3FE6A09E667F3BCD;  // the bits of sqrt(1/2)
  constexpr double kLn2 = 0.693147180559945309417;
  const double u = 1.0 + x;
  const uint64_t t = std::bit_cast<uint64_t>(u) - kHalfRoot + 0x3FF0000000000000;
  const double k = std::bit_cast<double>((t >> 52) | 0x4330000000000000) - (4503599627370496.0 + 1023.0);
  const double m = std::bit_cast<double>((t & 0x000FFFFFFFFFFFFF) + kHalfRoot);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double series = 2.0 / 19;
  series = series * z + 2.0 / 17;
  series = series * z + 2.0 / 15;
  series = series * z + 2.0 / 13;
  series = series * z + 2.0 / 11;
  series = series * z + 2.0 / 9;
  series = series * z + 2.0 / 7;
  series = series * z + 2.0 / 5;
  series = series * z + 2.0 / 3;
  const double rest = (x - (u - 1.0)) / u;
  return k * kLn2 + (2.0 * s + (s * z * series + rest));
}

enum class Fill : uint8_t { value, mean, refuse };
enum class Bad : uint8_t { none, infinite, log_domain, missing };

// The transform of a dense feature. `low` and `high` are infinite, `mean` 0 and `std` 1 where not asked for.
struct Dense {
  double low, high;
  bool log;
  double mean, std;
  Fill fill;
  double fill_value;  // Fill::value: stands for the raw value; Fill::mean: is written as it is
};

struct DenseStatus {
  Bad bad = Bad::none;
  int64_t at = -1;  // output index of the first bad element
  int64_t missing = 0;
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
  float done[kBlock];
  int64_t odd = 0;
  if (d.log) {
    for (int64_t i = 0; i < n; ++i) {
      const double x = std::min(std::max(in[i], d.low), d.high);
      done[i] = static_cast<float>((log1p(x) - d.mean) / d.std);
      odd += !(x > -1.0);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const double x = std::min(std::max(in[i], d.low), d.high);
      done[i] = static_cast<float>((x - d.mean) / d.std);
    }
  }
  for (int64_t i = 0; i < n; ++i) odd += !(std::fabs(in[i]) <= kLargest);
  for (int64_t i = 0; i < n; ++i) odd += !(std::fabs(done[i]) <= kLargestOut);
  for (int64_t i = 0; i < n; ++i) out[i * stride] = in[i] != in[i] ? fill : done[i];
  return odd;
}

// Writes element j of the ranges to out[j * stride].
inline DenseStatus read_dense(const Column& column, const Ranges& ranges, const Dense& dense, float* out, int64_t stride) {
  DenseStatus status;
  const float fill = static_cast<float>(dense.fill == Fill::value ? transformed(dense, dense.fill_value) : dense.fill_value);
  stretches(ranges, column.length, [&](int64_t first, int64_t to, int64_t count) {
    double in[kBlock];
    for (int64_t done = 0; done < count && status.bad == Bad::none; done += kBlock) {
      const int64_t n = std::min(kBlock, count - done);
      read_doubles(column, first + done, n, in);
      if (dense_block(dense, in, n, fill, out + (to + done) * stride, stride) == 0) continue;
      for (int64_t i = 0; i < n && status.bad == Bad::none; ++i) {
        status.missing += std::isnan(in[i]);
        status.bad = fault(dense, in[i]);
        if (status.bad != Bad::none) status.at = to + done + i;
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

// 1 + the number of edges at or below the value; 0 for null and NaN. `edges` ascend. Returns how many are null or NaN.
inline int64_t read_buckets(const Column& column, const double* edges, int64_t count_edges, int64_t* out) {
  int64_t missing = 0;
  double in[kBlock];
  for (int64_t done = 0; done < column.length; done += kBlock) {
    const int64_t n = std::min(kBlock, column.length - done);
    read_doubles(column, done, n, in);
    for (int64_t i = 0; i < n; ++i) {
      const bool unknown = std::isnan(in[i]);
      missing += unknown;
      out[done + i] = unknown ? 0 : 1 + (std::upper_bound(edges, edges + count_edges, in[i]) - edges);
    }
  }
  return missing;
}

// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): one to one on 64 bits.
inline uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

inline void cross(const int64_t* left, const int64_t* right, int64_t n, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<int64_t>(mix(mix(static_cast<uint64_t>(left[i])) ^ static_cast<uint64_t>(right[i])));
  }
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

// The hour of the day (0 to 23) or the day of the week (Monday 0 to Sunday 6) of milliseconds since the epoch, a Thursday.
inline void time_parts(const int64_t* ms, int64_t n, Part part, int64_t shift_ms, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = static_cast<int64_t>(static_cast<uint64_t>(ms[i]) + static_cast<uint64_t>(shift_ms));
    const int64_t count = part == Part::hour ? floor_div(t, 3600000) : floor_div(t, 86400000) + 3;
    const int64_t cycle = part == Part::hour ? 24 : 7;
    const int64_t rest = count % cycle;
    out[i] = rest < 0 ? rest + cycle : rest;
  }
}

LARIX_FEATURES_CLONES static void ages_block(const double* then, double now, int64_t n, float* out, int64_t stride) {
  float done[kBlock];
  for (int64_t i = 0; i < n; ++i) done[i] = static_cast<float>(log1p(std::max(now - then[i], 0.0) / 1000.0));
  for (int64_t i = 0; i < n; ++i) out[i * stride] = done[i];
}

// log1p of the seconds from each element of row r to now[r], both in milliseconds; 0 for elements later than that.
inline void log_ages(const int64_t* then, const int64_t* offsets, const int64_t* now, int64_t rows, float* out,
                     int64_t stride) {
  double in[kBlock];
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t at = offsets[r]; at < offsets[r + 1]; at += kBlock) {
      const int64_t n = std::min(kBlock, offsets[r + 1] - at);
      for (int64_t i = 0; i < n; ++i) in[i] = static_cast<double>(then[at + i]);
      ages_block(in, static_cast<double>(now[r]), n, out + at * stride, stride);
    }
  }
}

}  // namespace larix::features
