// From gradients to stepped rows: sum what belongs to one row, then touch each row once.
#include <algorithm>
#include <utility>

#include "group.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kChunk = 512;  // occurrences collected before their rows are visited: they stay in the first cache
constexpr size_t kAhead = 24;  // rows asked for ahead of use

struct Share {
  Group& group;
  Sums& sums;
  size_t count = 0;  // accumulators in use
  int64_t lost = 0;
};

// Extents of rows are dealt to threads by a hash; who owns a row changes nothing in the result.
LARIX_INLINE unsigned owner_of(Handle handle, unsigned threads) {
  const uint32_t spread = row_of(handle) / Rows::kExtent * 0x9E3779B1u;
  return (uint64_t{spread} * threads) >> 32;
}

template <size_t Dim>
LARIX_INLINE void add(float* __restrict sum, const Occurrence& one, size_t dim) {
  const float* __restrict grad = one.grad;
  const float scale = one.scale;
  for (size_t i = 0; i < (Dim ? Dim : dim); ++i) sum[i] += scale * grad[i];
}

// A row's stamp is the number of its accumulator if that accumulator agrees; whatever was there before does no harm.
template <size_t Dim>
LARIX_INLINE void sum(Share& share, std::span<const Occurrence> occurrences) {
  const size_t dim = Dim ? Dim : share.group.dim;
  const Rows& rows = share.group.rows;
  const size_t most = share.count + occurrences.size();
  if (share.sums.rows.size() < most) share.sums.rows.resize(2 * most);
  if (share.sums.grads.size() < most * dim) share.sums.grads.resize(2 * most * dim);
  uint32_t* const owners = share.sums.rows.data();
  float* const grads = share.sums.grads.data();
  size_t count = share.count;
  for (size_t at = 0; at < occurrences.size(); ++at) {
    if (at + kAhead < occurrences.size()) {
      const Occurrence& later = occurrences[at + kAhead];
      if (later.handle != kNoHandle) rows.prefetch(row_of(later.handle));  // all of it: it will be stepped soon
      __builtin_prefetch(later.grad);
      __builtin_prefetch(later.grad + dim - 1);
    }
    const Occurrence one = occurrences[at];
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
}

// Calls take(occurrence) for every id of samples [first, last), in order.
template <typename Take>
LARIX_INLINE void each(const Slot& slot, size_t first, size_t last, const Take& take) {
  for (size_t sample = first; sample < last; ++sample) {
    const float* grad = slot.data + sample * slot.stride;
    if (slot.pool == Pool::sequence) {
      const size_t begin = slot.begin(sample), end = slot.begin(sample + 1);
      for (size_t at = begin; at < end; ++at) take({slot.handles[at], grad + (at - begin) * slot.width, 1.0f});
    } else if (!slot.offsets && !slot.weights) {
      take({slot.handles[sample], grad, 1.0f});
    } else {
      const float total = slot.total(sample);
      if (total == 0.0f) continue;
      for (size_t at = slot.begin(sample); at < slot.begin(sample + 1); ++at) {
        take({slot.handles[at], grad, (slot.weights ? slot.weights[at] : 1.0f) / total});
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

template <size_t Dim, typename Give>
LARIX_INLINE void apply_dim(Share& share, float lr, const Give& give) {
  give([&](std::span<const Occurrence> occurrences) { sum<Dim>(share, occurrences); });
  switch (share.group.optimizer.rule) {
    case Rule::sgd: return step_all<Rule::sgd, Dim>(share, lr);
    case Rule::adagrad: return step_all<Rule::adagrad, Dim>(share, lr);
    case Rule::row_adagrad: return step_all<Rule::row_adagrad, Dim>(share, lr);
    case Rule::adam: return step_all<Rule::adam, Dim>(share, lr);
  }
}

// ``give`` calls what it is given with all occurrences, in order, some at a time.
template <typename Give>
LARIX_INLINE void apply_share(Share& share, float lr, const Give& give) {
  switch (share.group.dim) {
    case 8: return apply_dim<8>(share, lr, give);
    case 16: return apply_dim<16>(share, lr, give);
    case 32: return apply_dim<32>(share, lr, give);
    case 64: return apply_dim<64>(share, lr, give);
    default: return apply_dim<0>(share, lr, give);
  }
}

LARIX_SIMD void apply_slots(Share& share, std::span<const Slot> slots, float lr) {
  apply_share(share, lr, [&](const auto& take) __attribute__((always_inline)) {
    Occurrence chunk[kChunk];
    size_t filled = 0;
    for (const Slot& slot : slots) {
      each(slot, 0, slot.samples, [&](const Occurrence& one) __attribute__((always_inline)) {
        chunk[filled++] = one;
        __builtin_prefetch(one.grad);
        if (filled == kChunk) take({chunk, std::exchange(filled, 0)});
      });
    }
    take({chunk, filled});
  });
}

LARIX_SIMD void apply_hands(Share& share, std::span<const Dealt* const> hands, size_t slots, float lr, unsigned me) {
  apply_share(share, lr, [&](const auto& take) __attribute__((always_inline)) {
    for (size_t slot = 0; slot < slots; ++slot) {
      for (const Dealt* hand : hands) {
        const size_t begin = slot ? hand->ends[me][slot - 1] : 0, end = hand->ends[me][slot];
        take({hand->occurrences[me].data() + begin, end - begin});
      }
    }
  });
}

}  // namespace

void deal(std::span<const Slot> slots, unsigned me, unsigned threads, Dealt& dealt) {
  size_t most = 0;
  for (const Slot& slot : slots) {
    const auto [first, last] = part(slot.samples, me, threads);
    most += slot.begin(last) - slot.begin(first);
  }
  dealt.occurrences.resize(threads);
  dealt.ends.resize(threads);
  std::vector<Occurrence*> next(threads);
  for (unsigned owner = 0; owner < threads; ++owner) {
    if (dealt.occurrences[owner].size() < most) dealt.occurrences[owner].resize(most);
    dealt.ends[owner].clear();
    next[owner] = dealt.occurrences[owner].data();
  }
  for (const Slot& slot : slots) {
    const auto [first, last] = part(slot.samples, me, threads);
    each(slot, first, last, [&](const Occurrence& one) { *next[owner_of(one.handle, threads)]++ = one; });
    for (unsigned owner = 0; owner < threads; ++owner) {
      dealt.ends[owner].push_back(static_cast<size_t>(next[owner] - dealt.occurrences[owner].data()));
    }
  }
}

int64_t apply(Group& group, std::span<const Slot> slots, double lr_scale, Sums& sums) {
  Share share{.group = group, .sums = sums};
  apply_slots(share, slots, static_cast<float>(group.optimizer.lr * lr_scale));
  return share.lost;
}

int64_t apply(Group& group, std::span<const Dealt* const> hands, size_t slots, double lr_scale, unsigned me, Sums& sums) {
  Share share{.group = group, .sums = sums};
  apply_hands(share, hands, slots, static_cast<float>(group.optimizer.lr * lr_scale), me);
  return share.lost;
}

}  // namespace larix
