// What the memory of this machine can do: rows at random places copied, or changed where they lie, or made one behind the
// other. No checks; rows are asked for ahead of use and lie on huge pages where the system has them. Called by table_limits.py
// and table_grow.py.
#include <sys/mman.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kAhead = 48, kHugePage = size_t{2} << 20;

struct Rows {
  char* data;
  size_t stride, head;  // bytes of a row, and of what lies in it before its weights

  // Into the second cache, which can have more lines on their way than the first.
  void prefetch(uint32_t row) const {
    const char* first = data + row * stride;
    const size_t bytes = stride < 512 ? stride : 512;  // the hardware follows longer rows by itself
    for (size_t offset = 0; offset < bytes; offset += 64) __builtin_prefetch(first + offset, 1, 2);
    __builtin_prefetch(first + bytes - 1, 1, 2);
  }
  float* weights(uint32_t row) const { return reinterpret_cast<float*>(data + row * stride + head); }
};

template <size_t Dim, bool kModify>
void visit(const Rows& rows, const uint32_t* at, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) rows.prefetch(at[i + kAhead]);
    float* weights = rows.weights(at[i]);
    if constexpr (kModify) {
      for (size_t k = 0; k < Dim; ++k) weights[k] += 1e-3f;
      weights[Dim] += 1.0f;  // the optimizer's state
    } else {
      std::memcpy(out + i * Dim, weights, Dim * sizeof(float));
    }
  }
}

template <bool kModify>
void visit_dim(size_t dim, const Rows& rows, const uint32_t* at, size_t count, float* out) {
  switch (dim) {
    case 16: return visit<16, kModify>(rows, at, count, out);
    case 32: return visit<32, kModify>(rows, at, count, out);
    case 64: return visit<64, kModify>(rows, at, count, out);
    case 128: return visit<128, kModify>(rows, at, count, out);
  }
}

struct Bucket {
  uint32_t tags[8], rows[8];
};

// A line of an index of so many buckets, for a row that may lie anywhere in it.
size_t bucket_of(uint32_t row, size_t buckets) {
  return (uint64_t{static_cast<uint32_t>((row + 1) * 0x9E3779B97F4A7C15ull >> 32)} * buckets) >> 32;
}

template <size_t Dim>
void step_whole(const Rows& rows, const Bucket* index, size_t buckets, const uint32_t* at, size_t slots, size_t samples,
                float* out) {
  const size_t width = slots * Dim;
  const auto place_of = [&](size_t i) { return out + i % samples * width + i / samples * Dim; };
  uint32_t found = 0;
  for (size_t i = 0; i < slots * samples; ++i) {  // from ids to vectors
    if (i + 2 * kAhead < slots * samples) __builtin_prefetch(index + bucket_of(at[i + 2 * kAhead], buckets), 0, 2);
    if (i + kAhead < slots * samples) {
      rows.prefetch(at[i + kAhead]);
      const float* later = place_of(i + kAhead);
      __builtin_prefetch(later, 1, 2);
      __builtin_prefetch(later + Dim - 1, 1, 2);
    }
    found += index[bucket_of(at[i], buckets)].tags[at[i] % 8];
    std::memcpy(place_of(i), rows.weights(at[i]), Dim * sizeof(float));
  }
  for (size_t i = 0; i < slots * samples; ++i) {  // from gradients, which lie where the vectors did, to weights
    if (i + kAhead < slots * samples) {
      rows.prefetch(at[i + kAhead]);
      const float* later = place_of(i + kAhead);
      __builtin_prefetch(later, 0, 2);
      __builtin_prefetch(later + Dim - 1, 0, 2);
    }
    const float* grad = place_of(i);
    float* weights = rows.weights(at[i]);
    float lanes[8] = {};
    for (size_t k = 0; k < Dim; ++k) lanes[k % 8] += grad[k] * grad[k];
    float sum = weights[Dim];
    for (const float lane : lanes) sum += lane / Dim;
    weights[Dim] = sum;
    const float rate = 1e-6f / (std::sqrt(sum) + 1e-8f);
    for (size_t k = 0; k < Dim; ++k) weights[k] -= rate * grad[k];
    *reinterpret_cast<uint32_t*>(weights - 2) = found;  // when the row was met, in its header
  }
}

}  // namespace

extern "C" {

// The least that a step of row-wise Adagrad is made of, if lookup and update are two calls with a network between them: a
// line of the index and the row for each id, its vector to ``out``, float32 [samples, slots * dim]; then the row once more,
// with a gradient that is read from there. Row numbers ``at`` [steps, slots, samples] are known, what repeats is stepped
// again instead of summed, and nothing is checked.
void work_whole(char* data, size_t stride, size_t head, size_t dim, const char* index, size_t buckets, const uint32_t* at,
                size_t slots, size_t samples, size_t steps, float* out) {
  const Rows rows{data, stride, head};
  const auto* const lines = reinterpret_cast<const Bucket*>(index);
  for (size_t step = 0; step < steps; ++step, at += slots * samples) {
    switch (dim) {
      case 16: step_whole<16>(rows, lines, buckets, at, slots, samples, out); break;
      case 32: step_whole<32>(rows, lines, buckets, at, slots, samples, out); break;
      case 64: step_whole<64>(rows, lines, buckets, at, slots, samples, out); break;
      case 128: step_whole<128>(rows, lines, buckets, at, slots, samples, out); break;
    }
  }
}

// Memory that nobody has touched, on huge pages where the system has them; never given back.
char* reserve(size_t bytes) {
  void* mapping = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const auto address = (reinterpret_cast<uintptr_t>(mapping) + kHugePage - 1) / kHugePage * kHugePage;
  char* data = reinterpret_cast<char*>(address);
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

// The same, touched.
char* make_rows(size_t bytes) {
  char* data = reserve(bytes);
  if (data) std::memset(data, 0, bytes);
  return data;
}

// Writes rows [first, first + slots * samples) of a table that grows: each one's entry into a random bucket of ``index``, a
// line of the slot's share of them, then the row itself, behind the one before, then its weights to ``out``, float32
// [samples, slots * dim]. Nothing is looked for, drawn or moved: what is left is the memory's.
void grow(char* data, size_t stride, size_t head, size_t dim, char* index, size_t buckets, size_t slots, size_t samples,
          size_t first, float* out) {
  const size_t share = buckets / slots;
  for (size_t slot = 0; slot < slots; ++slot) {
    Bucket* const mine = reinterpret_cast<Bucket*>(index) + slot * share;
    const size_t begin = first + slot * samples;
    float* const to = out + slot * dim;
    for (size_t i = 0; i < samples; ++i) {
      if (i + kAhead < samples) {
        __builtin_prefetch(mine + bucket_of(static_cast<uint32_t>(begin + i + kAhead), share), 1, 2);
        const float* later = to + (i + kAhead) * slots * dim;
        __builtin_prefetch(later, 1, 2);
        __builtin_prefetch(later + dim - 1, 1, 2);
      }
      const auto row = static_cast<uint32_t>(begin + i);
      Bucket& bucket = mine[bucket_of(row, share)];
      bucket.tags[row % 8] = bucket.rows[row % 8] = row;
      char* const at = data + size_t{row} * stride;
      std::memset(at, 1, head);
      float* const weights = reinterpret_cast<float*>(at + head);
      for (size_t k = 0; k <= dim; ++k) weights[k] = 1e-3f;  // and the optimizer's state
      std::memcpy(to + i * slots * dim, weights, dim * sizeof(float));
    }
  }
}

// Works ``steps`` steps of ``ids`` row numbers each. Thread ``t`` visits those in [ends[step][t], ends[step][t + 1]);
// its rows are its own. ``out``: float32 [ids, dim], the weights of a step, or null: then rows are changed.
void work(char* data, size_t stride, size_t head, size_t dim, const uint32_t* at, const int64_t* ends, size_t ids,
          size_t steps, float* out, unsigned threads) {
  const Rows rows{data, stride, head};
  const auto share = [&](unsigned me) {
    for (size_t step = 0; step < steps; ++step) {
      const int64_t* mine = ends + step * (threads + 1) + me;
      const uint32_t* first = at + step * ids + mine[0];
      const auto count = static_cast<size_t>(mine[1] - mine[0]);
      if (out) {
        visit_dim<false>(dim, rows, first, count, out + static_cast<size_t>(mine[0]) * dim);
      } else {
        visit_dim<true>(dim, rows, first, count, nullptr);
      }
    }
  };
  std::vector<std::thread> others;
  for (unsigned me = 1; me < threads; ++me) others.emplace_back(share, me);
  share(0);
  for (std::thread& other : others) other.join();
}
}
