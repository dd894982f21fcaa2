// From ids without a row to rows: a place and an entry in the index first, for some together, then their weights.
#include <array>

#include "group.hpp"
#include "simd.hpp"

namespace larix {

namespace {

constexpr size_t kBatch = Shard::kTogether;

// The row of a missing id: one that it has by now, or a new one without weights, to which ``come`` is set; kNoRow if there is
// no memory.
LARIX_INLINE uint32_t place(Group& group, const Miss& miss, bool any, char*& come) {
  const uint32_t shard = group.index.shard_of(miss.hash, miss.table);
  come = nullptr;
  return group.index.shard(miss.hash, miss.table)
      .find_or_insert(
          Index::tag_of(miss.hash), [&](uint32_t row) { return group.holds(row, miss.table, miss.id); },
          [&] {
            const uint32_t row = any ? group.rows.take_any(shard) : group.rows.take(shard);
            if (row == kNoRow) return kNoRow;
            come = group.rows.at(row);
            Header& header = *reinterpret_cast<Header*>(come);
            group.enter(row, header);
            header.id = miss.id;
            header.table = static_cast<uint16_t>(miss.table);
            header.seen = group.clock.now;
            header.score = 0.0f;
            return row;
          });
}

// First weights and state of rows. ``Dim`` 0: known at run time only. ``wide``: of those of 16 bits, one row's as float32.
template <size_t Dim>
LARIX_INLINE void bear_dim(const Group& group, const TableRules& rules, std::span<char* const> rows, std::vector<float>& wide) {
  const size_t dim = Dim ? Dim : group.dim;
  const Optimizer optimizer = group.optimizer;  // copied: what is written to rows cannot be thought to change it
  const bool whole = group.precision == Precision::fp32;
  for (char* const row : rows) {
    const Header& header = *reinterpret_cast<const Header*>(row);
    float* const weights = whole ? reinterpret_cast<float*>(Group::weights_of(row)) : wide.data();
    bear(rules.births[header.table], header.id, weights, dim);
    if (!whole) {
      group.store_weights(row, weights);
      group.load_weights(row, weights);  // as they are kept: what state follows from
    }
    optimizer.first_state(weights, group.state_of(row), dim);
  }
}

LARIX_SIMD void bear(const Group& group, const TableRules& rules, std::span<char* const> rows, std::vector<float>& wide) {
  switch (group.dim) {
    case 8: return bear_dim<8>(group, rules, rows, wide);
    case 16: return bear_dim<16>(group, rules, rows, wide);
    case 32: return bear_dim<32>(group, rules, rows, wide);
    case 64: return bear_dim<64>(group, rules, rows, wide);
    default: return bear_dim<0>(group, rules, rows, wide);
  }
}

}  // namespace

bool give_row(Group& group, const TableRules& rules, const Miss& miss, bool any, Born& born) {
  born.wide.resize(group.dim);
  char* come;
  const uint32_t row = place(group, miss, any, come);
  if (row == kNoRow) return false;
  *miss.handle = row;
  if (come) {
    bear(group, rules, {&come, 1}, born.wide);
    ++born.rows[miss.table];
  }
  return true;
}

void expect_rows(Group& group, std::span<const Miss> misses, unsigned me, unsigned threads) {
  std::array<uint32_t, Index::kShards> inserts{};
  for (const Miss& miss : misses) ++inserts[group.index.shard_of(miss.hash, miss.table)];
  for (uint32_t shard = me; shard < Index::kShards; shard += threads) group.index.expect(shard, inserts[shard]);
}

void give_rows(Group& group, const TableRules& rules, std::span<const Miss> misses, unsigned me, unsigned threads, Born& born) {
  born.wide.resize(group.dim);
  std::array<const Miss*, kBatch> mine;  // shards of others must not even be prefetched: they may be growing
  std::array<char*, kBatch> newborn;
  for (auto miss = misses.begin(); miss != misses.end();) {
    size_t filled = 0, come = 0;
    for (; miss != misses.end() && filled < kBatch; ++miss) {
      if (group.index.shard_of(miss->hash, miss->table) % threads != me) continue;
      if (!rules.admissions[miss->table].admits(miss->id, group.clock.calls)) {
        *miss->handle = kRefused;
        ++born.refused;
        continue;
      }
      group.index.shard(miss->hash, miss->table).prefetch(Index::tag_of(miss->hash));
      mine[filled++] = &*miss;
    }
    const auto bear_those = [&] { bear(group, rules, {newborn.data(), come}, born.wide); };
    try {
      for (const Miss* one : std::span(mine.data(), filled)) {
        const uint32_t row = place(group, *one, false, newborn[come]);
        if (row == kNoRow) {
          born.homeless.push_back(*one);
          continue;
        }
        *one->handle = row;
        if (newborn[come]) {
          ++come;
          ++born.rows[one->table];
        }
      }
    } catch (...) {
      bear_those();  // no memory for more: those that have a place are whole
      throw;
    }
    bear_those();
  }
}

}  // namespace larix
