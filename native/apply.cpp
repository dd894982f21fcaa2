// From gradients to stepped rows. Occurrences are dealt to bins by where their rows lie, so that all that belongs to a bin
// stays in the second cache while its gradients are summed, and the processor finds its few pages; then every row is
// visited once.
#include <algorithm>
#include <bit>
#include <utility>

#include "group.hpp"
#include "rules.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kAhead = 24;             // gradients and rows asked for ahead of use
constexpr size_t kFar = 128;              // handles asked for ahead of use: of each page the hardware would ask too late
constexpr size_t kBinBytes = 128 * 1024;  // of sums and rows together: small, that rows lie close, too
constexpr size_t kSample = 8;             // occurrences a bin that are looked at to part the rows

// Calls take(occurrence) for the ids [first, last) of a slot, in order. ``data``: the slot's gradients.
template <typename Number, typename Take>
LARIX_INLINE void each(const Slot& slot, const Number* data, const Policy& policy, const float* clicks, size_t first,
                       size_t last, const Take& take) {
  const bool sequence = slot.pool == Pool::sequence;
  const auto gain = [&](size_t sample) { return policy.gain(clicks ? clicks[sample] : 0.0f, sequence); };
  if (!slot.offsets && !slot.weights && slot.pool != Pool::sequence) {
    for (size_t at = first; at < last; ++at) {
      __builtin_prefetch(slot.handles + at + kFar);
      take({slot.handles[at], Grad(data + at * slot.stride), 1.0f, gain(at)});
    }
    return;
  }
  size_t sample = first;
  if (slot.offsets) {
    sample = static_cast<size_t>(std::upper_bound(slot.offsets, slot.offsets + slot.samples + 1, int64_t(first)) -
                                 slot.offsets - 1);
  }
  for (; sample < slot.samples && slot.begin(sample) < last; ++sample) {
    const Number* grad = data + sample * slot.stride;
    const float gained = gain(sample);
    const size_t begin = slot.begin(sample), from = std::max(begin, first), to = std::min(slot.begin(sample + 1), last);
    if (slot.pool == Pool::sequence) {
      for (size_t at = from; at < to; ++at) take({slot.handles[at], Grad(grad + (at - begin) * slot.width), 1.0f, gained});
    } else if (const float total = slot.total(sample); total != 0.0f) {
      for (size_t at = from; at < to; ++at) {
        take({slot.handles[at], Grad(grad), (slot.weights ? slot.weights[at] : 1.0f) / total, gained});
      }
    }
  }
}

template <typename Take>
LARIX_INLINE void each(std::span<const Slot> slots, std::span<const Policy> policies, const float* clicks, size_t first,
                       size_t last, const Take& take) {
  size_t begin = 0;  // of the slot, counted over all
  for (const Slot& slot : slots) {
    const size_t end = begin + slot.count;
    if (first < end && last > begin) {
      const Policy& policy = policies[slot.table];
      const size_t from = std::max(first, begin) - begin, to = std::min(last, end) - begin;
      if (slot.halves) {
        each(slot, slot.halves, policy, clicks, from, to, take);
      } else {
        each(slot, slot.data, policy, clicks, from, to, take);
      }
    }
    begin = end;
  }
}

// Where in ``places``, a table of 2 ** bits numbers from 1 into ``handles``, a handle is or is to be.
LARIX_INLINE size_t probe(const uint32_t* places, const Handle* handles, unsigned bits, Handle handle) {
  size_t at = (handle * 0xD6E8FEB86659FD93ull) >> (64 - bits);  // another multiplier than that of bins: they would cluster
  while (places[at] != 0 && handles[places[at] - 1] != handle) at = (at + 1) & ((size_t{1} << bits) - 1);
  return at;
}

LARIX_INLINE float number(float given) { return given; }
LARIX_INLINE float number(uint16_t given) { return std::bit_cast<float>(uint32_t{given} << 16); }

template <typename Number>
LARIX_INLINE void ask(const Number* grad, size_t dim) {
  __builtin_prefetch(grad, 0, 2);
  if (reinterpret_cast<uintptr_t>(grad) % 64 + dim * sizeof(Number) > 64) __builtin_prefetch(grad + dim - 1, 0, 2);
}

template <bool First, typename Number>
LARIX_INLINE void add(const Number* __restrict grad, float scale, float* __restrict into, size_t dim) {
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) into[i] = (First ? 0.0f : into[i]) + scale * number(grad[i]);
}

// To what is there, or if it is the ``First`` to zeros.
template <bool First>
LARIX_INLINE void add(const Occurrence& one, float* into, size_t dim) {
  if (const uint16_t* halves = one.grad.halves()) return add<First>(halves, one.scale, into, dim);
  add<First>(one.grad.floats(), one.scale, into, dim);
}

// Returns how many handles there are, each once.
template <size_t Dim>
LARIX_INLINE size_t sum(const Group& group, std::span<const Bins> hands, size_t bin, Sums& sums) {
  const size_t dim = Dim ? Dim : group.dim;
  const auto dealt = [&](const Bins& hand) {
    const size_t begin = bin ? hand.ends[bin - 1] : 0;
    return std::span(hand.occurrences.data() + begin, hand.ends[bin] - begin);
  };
  size_t most = 0;
  for (const Bins& hand : hands) most += dealt(hand).size();
  const auto bits = static_cast<unsigned>(std::bit_width(2 * most | 1));
  if (sums.places.size() < size_t{1} << bits) sums.places.resize(size_t{1} << bits);
  if (sums.handles.size() < most) sums.handles.resize(most), sums.counts.resize(most), sums.gains.resize(most);
  if (sums.grads.size() < most * dim) sums.grads.resize(most * dim);
  std::fill_n(sums.places.begin(), size_t{1} << bits, 0);
  uint32_t* const places = sums.places.data();
  Handle* const handles = sums.handles.data();
  uint32_t* const counts = sums.counts.data();
  float* const gains = sums.gains.data();
  float* const grads = sums.grads.data();
  size_t count = 0;
  for (const Bins& hand : hands) {
    const std::span occurrences = dealt(hand);
    for (size_t at = 0; at < occurrences.size(); ++at) {
      if (at + kAhead < occurrences.size()) {
        const Grad& later = occurrences[at + kAhead].grad;
        if (const uint16_t* halves = later.halves()) {
          ask(halves, dim);
        } else {
          ask(later.floats(), dim);
        }
      }
      const Occurrence& one = occurrences[at];
      uint32_t& place = places[probe(places, handles, bits, one.handle)];
      if (place == 0) {
        group.rows.prefetch_far(row_of(one.handle));  // it will be stepped when the bin is summed up
        handles[count] = one.handle;
        counts[count] = 1;
        gains[count] = 0.0f + one.gain;
        add<true>(one, grads + count * dim, dim);
        place = static_cast<uint32_t>(++count);
      } else {
        ++counts[place - 1];
        gains[place - 1] += one.gain;
        add<false>(one, grads + (place - 1) * dim, dim);
      }
    }
  }
  return count;
}

// Returns how many occurrences had no row any more.
template <Rule rule, size_t Dim>
LARIX_INLINE int64_t step_all(Group& group, std::span<const Birth> births, float rate, Sums& sums, size_t count) {
  const size_t dim = Dim ? Dim : group.dim;
  const Optimizer optimizer = group.optimizer;  // copied: what is written to rows cannot be thought to change it
  const bool wide = group.precision == Precision::fp32;
  const size_t offset = weight_bytes(group.precision, dim);
  const uint64_t draw = Draws::of_step(group.clock.steps);
  sums.wide.resize(dim);
  int64_t lost = 0;
  for (size_t at = 0; at < count; ++at) {
    if (at + kAhead < count) group.rows.prefetch(row_of(sums.handles[at + kAhead]));
    const Handle handle = sums.handles[at];
    char* row = group.rows.at(row_of(handle));
    Header& header = *reinterpret_cast<Header*>(row);
    if (header.generation != generation_of(handle) || header.table == 0) {
      lost += sums.counts[at];
      continue;
    }
    group.touch(row_of(handle), header);
    group.policies[header.table].met(header, group.clock.now, sums.gains[at]);
    char* const kept = Group::weights_of(row);
    float* const weights = wide ? reinterpret_cast<float*>(kept) : sums.wide.data();
    if (!wide) group.load_weights(row, weights);
    step<rule>(optimizer, rate, weights, reinterpret_cast<float*>(kept + offset), sums.grads.data() + at * dim, dim);
    if (!wide) group.store_weights(row, weights, Draws(births[header.table].key, header.id, draw));
  }
  return lost;
}

template <size_t Dim>
LARIX_INLINE int64_t apply_dim(Group& group, std::span<const Birth> births, std::span<const Bins> hands, size_t bin,
                               float rate, Sums& sums) {
  const size_t count = sum<Dim>(group, hands, bin, sums);
  switch (group.optimizer.rule) {
    case Rule::sgd: return step_all<Rule::sgd, Dim>(group, births, rate, sums, count);
    case Rule::momentum: return step_all<Rule::momentum, Dim>(group, births, rate, sums, count);
    case Rule::adagrad: return step_all<Rule::adagrad, Dim>(group, births, rate, sums, count);
    case Rule::row_adagrad: return step_all<Rule::row_adagrad, Dim>(group, births, rate, sums, count);
    case Rule::adam: return step_all<Rule::adam, Dim>(group, births, rate, sums, count);
    case Rule::adamw: return step_all<Rule::adamw, Dim>(group, births, rate, sums, count);
    case Rule::ftrl: return step_all<Rule::ftrl, Dim>(group, births, rate, sums, count);
    case Rule::lamb: return step_all<Rule::lamb, Dim>(group, births, rate, sums, count);
  }
  return 0;
}

}  // namespace

Binning::Binning(const Group& group, std::span<const Slot> slots) {
  size_t count = 0;
  for (const Slot& slot : slots) count += slot.count;
  bins = std::clamp<size_t>(count * (group.rows.stride() + group.dim * sizeof(float)) / kBinBytes, 1, 4096);
  const auto width = static_cast<unsigned>(std::bit_width(group.rows.high() | 1));
  shift_ = width > kBits ? width - kBits : 0;
  bin_.assign(size_t{1} << kBits, 0);
  if (bins == 1) return;
  // Shares of rows are not even: those that were born early are met the most. A sample tells how they lie.
  const size_t every = std::max<size_t>(count / (bins * kSample), 1);
  std::vector<uint32_t> met(bin_.size(), 0);
  size_t sampled = 0, at = 0;
  for (const Slot& slot : slots) {
    for (; at < slot.count; at += every) {
      if (!has_row(slot.handles[at])) continue;
      ++met[std::min<size_t>(row_of(slot.handles[at]) >> shift_, met.size() - 1)];
      ++sampled;
    }
    at -= slot.count;
  }
  size_t before = 0;
  for (size_t part = 0; part < bin_.size(); ++part) {
    bin_[part] = static_cast<uint16_t>(std::min(before * bins / (sampled + 1), bins - 1));
    before += met[part];
  }
}

void deal(std::span<const Slot> slots, std::span<const Policy> policies, const float* clicks, size_t first, size_t last,
          const Binning& binning, Bins& dealt) {
  dealt.lost = 0;
  dealt.ends.assign(binning.bins + 1, 0);
  uint32_t* const starts = dealt.ends.data() + 1;  // counts first; then each is moved on to the end of its bin
  each(slots, policies, clicks, first, last, [&](const Occurrence& one) {
    if (has_row(one.handle)) {
      ++starts[binning.of(one.handle)];
    } else {
      dealt.lost += one.handle == kNoHandle;
    }
  });
  uint32_t total = 0;
  for (size_t bin = 0; bin < binning.bins; ++bin) total += std::exchange(starts[bin], total);
  if (dealt.occurrences.size() < total) dealt.occurrences.resize(total);
  Occurrence* const into = dealt.occurrences.data();
  each(slots, policies, clicks, first, last, [&](const Occurrence& one) {
    if (has_row(one.handle)) into[starts[binning.of(one.handle)]++] = one;
  });
  dealt.ends.erase(dealt.ends.begin());
}

LARIX_SIMD int64_t apply(Group& group, std::span<const Birth> births, std::span<const Bins> hands, size_t bin, float rate,
                         Sums& sums) {
  switch (group.dim) {
    case 8: return apply_dim<8>(group, births, hands, bin, rate, sums);
    case 16: return apply_dim<16>(group, births, hands, bin, rate, sums);
    case 32: return apply_dim<32>(group, births, hands, bin, rate, sums);
    case 64: return apply_dim<64>(group, births, hands, bin, rate, sums);
    default: return apply_dim<0>(group, births, hands, bin, rate, sums);
  }
}

}  // namespace larix
