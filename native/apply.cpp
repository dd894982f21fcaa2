// From gradients to stepped rows: sum what belongs to one row, then touch each row once.
#include <algorithm>

#include "group.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kChunk = 512;  // occurrences collected before their rows are visited: they stay in the first cache
constexpr size_t kAhead = 24;  // rows asked for ahead of use

// One id's gradient: ``scale`` times the vector at ``grad``.
struct Occurrence {
  Handle handle;
  const float* grad;
  float scale;
};

struct Share {
  Group& group;
  Sums& sums;
  size_t count = 0;  // accumulators in use
  int64_t lost = 0;
  size_t filled = 0;
  Occurrence chunk[kChunk];
};

// Extents of rows are dealt to threads by a hash; who owns a row changes nothing in the result.
LARIX_INLINE bool owns(Handle handle, unsigned me, unsigned threads) {
  const uint32_t spread = row_of(handle) / Rows::kExtent * 0x9E3779B1u;
  return (uint64_t{spread} * threads) >> 32 == me;
}

template <size_t Dim>
LARIX_INLINE void add(float* __restrict sum, const Occurrence& one, size_t dim) {
  const float* __restrict grad = one.grad;
  const float scale = one.scale;
  for (size_t i = 0; i < (Dim ? Dim : dim); ++i) sum[i] += scale * grad[i];
}

// A row's stamp is the number of its accumulator if that accumulator agrees; whatever was there before does no harm.
template <size_t Dim>
LARIX_INLINE void sum_chunk(Share& share) {
  const size_t dim = Dim ? Dim : share.group.dim;
  const Rows& rows = share.group.rows;
  const size_t most = share.count + share.filled;
  if (share.sums.rows.size() < most) share.sums.rows.resize(2 * most);
  if (share.sums.grads.size() < most * dim) share.sums.grads.resize(2 * most * dim);
  uint32_t* const owners = share.sums.rows.data();
  float* const grads = share.sums.grads.data();
  const size_t filled = share.filled;
  size_t count = share.count;
  for (size_t at = 0; at < filled; ++at) {
    if (at + kAhead < filled && share.chunk[at + kAhead].handle != kNoHandle) {
      __builtin_prefetch(&rows.header(row_of(share.chunk[at + kAhead].handle)), 1);
    }
    const Occurrence one = share.chunk[at];
    const uint32_t row = row_of(one.handle);
    if (one.handle == kNoHandle || rows.header(row).generation != generation_of(one.handle)) {
      ++share.lost;
      continue;
    }
    Header& header = rows.header(row);
    if (header.stamp < count && owners[header.stamp] == row) {
      add<Dim>(grads + header.stamp * dim, one, dim);
    } else {
      header.stamp = static_cast<uint32_t>(count);
      owners[count] = row;
      std::fill_n(grads + count * dim, dim, 0.0f);
      add<Dim>(grads + count * dim, one, dim);
      ++count;
    }
  }
  share.count = count;
  share.filled = 0;
}

template <size_t Dim>
LARIX_INLINE void collect(Share& share, const Slot& slot, unsigned me, unsigned threads) {
  const auto take = [&](size_t at, const float* grad, float scale) __attribute__((always_inline)) {
    const bool mine = threads == 1 || owns(slot.handles[at], me, threads);
    share.chunk[share.filled] = {slot.handles[at], grad, scale};
    share.filled += mine;  // no branch: who owns a row is a coin toss
    __builtin_prefetch(mine ? static_cast<const void*>(grad) : share.chunk);
    if (share.filled == kChunk) sum_chunk<Dim>(share);
  };
  for (size_t sample = 0; sample < slot.samples; ++sample) {
    const float* grad = slot.data + sample * slot.stride;
    if (slot.pool == Pool::sequence) {
      const size_t first = slot.begin(sample), last = slot.begin(sample + 1);
      for (size_t at = first; at < last; ++at) take(at, grad + (at - first) * slot.width, 1.0f);
    } else if (!slot.offsets && !slot.weights) {
      take(sample, grad, 1.0f);
    } else {
      const float total = slot.total(sample);
      if (total == 0.0f) continue;
      for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at) {
        take(at, grad, (slot.weights ? slot.weights[at] : 1.0f) / total);
      }
    }
  }
}

template <Rule rule, size_t Dim>
LARIX_INLINE void step_all(Share& share, float lr) {
  const size_t dim = Dim ? Dim : share.group.dim;
  const Rows& rows = share.group.rows;
  const uint32_t* owners = share.sums.rows.data();
  for (size_t at = 0; at < share.count; ++at) {
    if (at + kAhead < share.count) rows.prefetch(owners[at + kAhead]);
    float* weights = rows.weights(owners[at]);
    step<rule>(share.group.optimizer, lr, weights, weights + dim, share.sums.grads.data() + at * dim, dim);
  }
}

template <size_t Dim>
LARIX_INLINE void apply_dim(Share& share, std::span<const Slot> slots, float lr, unsigned me, unsigned threads) {
  for (const Slot& slot : slots) collect<Dim>(share, slot, me, threads);
  sum_chunk<Dim>(share);
  switch (share.group.optimizer.rule) {
    case Rule::sgd: return step_all<Rule::sgd, Dim>(share, lr);
    case Rule::adagrad: return step_all<Rule::adagrad, Dim>(share, lr);
    case Rule::row_adagrad: return step_all<Rule::row_adagrad, Dim>(share, lr);
    case Rule::adam: return step_all<Rule::adam, Dim>(share, lr);
  }
}

LARIX_SIMD void apply_share(Share& share, std::span<const Slot> slots, float lr, unsigned me, unsigned threads) {
  switch (share.group.dim) {
    case 8: return apply_dim<8>(share, slots, lr, me, threads);
    case 16: return apply_dim<16>(share, slots, lr, me, threads);
    case 32: return apply_dim<32>(share, slots, lr, me, threads);
    case 64: return apply_dim<64>(share, slots, lr, me, threads);
    default: return apply_dim<0>(share, slots, lr, me, threads);
  }
}

}  // namespace

int64_t apply(Group& group, std::span<const Slot> slots, double lr_scale, unsigned me, unsigned threads, Sums& sums) {
  Share share{.group = group, .sums = sums, .chunk = {}};
  apply_share(share, slots, static_cast<float>(group.optimizer.lr * lr_scale), me, threads);
  return share.lost;
}

}  // namespace larix
