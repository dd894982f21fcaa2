#include "store.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace larix {

namespace {

constexpr int64_t kWorthThreads = 4096;  // ids in a call from which waking threads pays

int64_t total_ids(std::span<const Slot> slots) {
  size_t total = 0;
  for (const Slot& slot : slots) total += slot.count;
  return static_cast<int64_t>(total);
}

}  // namespace

Store::Store(const std::vector<GroupSpec>& groups, const std::vector<TableSpec>& tables, unsigned threads)
    : group_numbers_(1), births_(1), sizes_(tables.size() + 1), scratch_(threads), threads_(threads) {
  for (const GroupSpec& spec : groups) groups_.push_back(std::make_unique<Group>(spec.dim, spec.optimizer));
  for (const TableSpec& spec : tables) {
    group_numbers_.push_back(static_cast<uint32_t>(spec.group));
    births_.push_back(spec.birth);
  }
  for (Scratch& scratch : scratch_) {
    scratch.misses.resize(groups.size());
    scratch.dealt.resize(groups.size());
    scratch.born.resize(tables.size() + 1);
  }
}

// Calls work(me, threads) on one thread or all.
void Store::run(std::span<const Slot> slots, const std::function<void(unsigned, unsigned)>& work) {
  if (total_ids(slots) < kWorthThreads) return work(0, 1);
  threads_.run([&](unsigned me) { work(me, threads_.count()); });
}

void Store::borrow(Team team) {
  const std::lock_guard lock(mutex_);
  threads_.borrow(team);
}

void Store::gather(std::span<const Slot> slots, bool insert) {
  const std::lock_guard lock(mutex_);
  for (Scratch& scratch : scratch_) {
    for (std::vector<Miss>& misses : scratch.misses) misses.clear();
  }
  run(slots, [&](unsigned me, unsigned threads) {
    Scratch& scratch = scratch_[me];
    scratch.late.clear();
    for (const Slot& slot : slots) {
      // A slot is gathered while its handles are at hand, unless it has to wait for births.
      const auto [first, last] = part(slot.samples, me, threads);
      if (find_slot(slot, first, last, scratch) == 0 || !insert) {
        larix::gather(group_of(slot.table), slot, first, last);
      } else {
        scratch.late.push_back(&slot);
      }
    }
  });
  counts_.lookups += total_ids(slots);
  const int64_t missed = total_misses();
  if (missed == 0) return;
  if (!insert) {
    counts_.missing += missed;
    return;
  }
  run(slots, [&](unsigned me, unsigned threads) { insert_share(me, threads); });
  count_births();
  run(slots, [&](unsigned me, unsigned threads) {
    for (const Slot* slot : scratch_[me].late) {
      const auto [first, last] = part(slot->samples, me, threads);
      larix::gather(group_of(slot->table), *slot, first, last);
    }
  });
}

size_t Store::find_slot(const Slot& slot, size_t first, size_t last, Scratch& scratch) const {
  const size_t begin = slot.begin(first), end = slot.begin(last), group = group_numbers_[slot.table];
  std::vector<Miss>& misses = scratch.misses[group];
  const size_t before = misses.size();
  find(*groups_[group], slot.table, slot.ids + begin, end - begin, slot.handles + begin, misses);
  return misses.size() - before;
}

int64_t Store::total_misses() const {
  size_t total = 0;
  for (const Scratch& scratch : scratch_) {
    for (const std::vector<Miss>& misses : scratch.misses) total += misses.size();
  }
  return static_cast<int64_t>(total);
}

void Store::insert_share(unsigned me, unsigned threads) {
  for (const Scratch& finder : scratch_) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      insert(*groups_[group], births_, finder.misses[group], me, threads, scratch_[me].born);
    }
  }
}

void Store::count_births() {
  for (Scratch& scratch : scratch_) {
    for (size_t table = 1; table < sizes_.size(); ++table) {
      sizes_[table] += scratch.born[table];
      counts_.inserted += std::exchange(scratch.born[table], 0);
    }
  }
}

void Store::apply(std::span<const Slot> slots, double lr_scale) {
  const std::lock_guard lock(mutex_);
  apply_found(slots, lr_scale);
}

void Store::apply_found(std::span<const Slot> slots, double lr_scale) {
  std::vector<std::vector<Slot>> by_group(groups_.size());
  for (const Slot& slot : slots) by_group[group_numbers_[slot.table]].push_back(slot);
  run(slots, [&](unsigned me, unsigned threads) {
    Scratch& scratch = scratch_[me];
    for (size_t group = 0; group < groups_.size(); ++group) {
      if (threads == 1) {
        scratch.lost += larix::apply(*groups_[group], by_group[group], lr_scale, scratch.sums);
      } else {
        deal(by_group[group], me, threads, scratch.dealt[group]);
      }
    }
  });
  run(slots, [&](unsigned me, unsigned threads) {
    if (threads == 1) return;
    std::vector<const Dealt*> hands(threads);
    for (size_t group = 0; group < groups_.size(); ++group) {
      for (unsigned other = 0; other < threads; ++other) hands[other] = &scratch_[other].dealt[group];
      scratch_[me].lost += larix::apply(*groups_[group], hands, by_group[group].size(), lr_scale, me, scratch_[me].sums);
    }
  });
  for (Scratch& scratch : scratch_) counts_.lost += std::exchange(scratch.lost, 0);
}

void Store::update(Slot slot, double lr_scale) {
  std::vector<Handle> handles(slot.count);
  slot.handles = handles.data();
  const std::lock_guard lock(mutex_);
  const Group& group = group_of(slot.table);
  std::vector<Miss> misses;
  find(group, slot.table, slot.ids, slot.count, slot.handles, misses);
  complete(group, slot.handles, slot.count);
  apply_found({&slot, 1}, lr_scale);
}

int64_t Store::rows(uint32_t table) const {
  const std::lock_guard lock(mutex_);
  return sizes_[table];
}

std::vector<int64_t> Store::keys(uint32_t table) const {
  const std::lock_guard lock(mutex_);
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(sizes_[table]));
  group_of(table).index.each([&](const Entry& entry) {
    if (entry.table == table) ids.push_back(entry.id);
  });
  return ids;
}

void Store::read(uint32_t table, std::span<const int64_t> ids, float* weights, float* state) const {
  const std::lock_guard lock(mutex_);
  const Group& group = group_of(table);
  const size_t dim = group.dim, states = group.state();
  std::vector<Handle> handles(ids.size());
  std::vector<Miss> misses;
  find(group, table, ids.data(), ids.size(), handles.data(), misses);
  const std::vector<float> nothing(dim + states);
  for (size_t at = 0; at < ids.size(); ++at) {
    const bool there = handles[at] != kNoHandle;
    const float* values = there ? group.rows.weights(row_of(handles[at])) : nothing.data();
    if (weights) std::memcpy(weights + at * dim, values, dim * sizeof(float));
    if (state) std::memcpy(state + at * states, values + dim, states * sizeof(float));
  }
}

void Store::put(uint32_t table, std::span<const int64_t> ids, const float* weights, const float* state) {
  const std::lock_guard lock(mutex_);
  Group& group = group_of(table);
  const size_t dim = group.dim, states = group.state();
  std::vector<Handle> handles(ids.size());
  std::vector<Miss> misses;
  find(group, table, ids.data(), ids.size(), handles.data(), misses);
  std::vector<int64_t> born(sizes_.size());
  larix::insert(group, births_, misses, 0, 1, born);
  sizes_[table] += born[table];
  for (size_t at = 0; at < ids.size(); ++at) {
    float* values = group.rows.weights(row_of(handles[at]));
    std::memcpy(values, weights + at * dim, dim * sizeof(float));
    if (states) std::memcpy(values + dim, state + at * states, states * sizeof(float));
  }
}

int64_t Store::remove(uint32_t table, std::span<const int64_t> ids) {
  const std::lock_guard lock(mutex_);
  Group& group = group_of(table);
  int64_t removed = 0;
  for (const int64_t id : ids) {
    const uint64_t hash = place_hash(id, table);
    Shard& shard = group.index.shard(hash);
    Entry* entry = shard.find(hash, id, table);
    if (!entry) continue;
    group.rows.give_back(Index::shard_of(hash), entry->row);
    shard.erase(entry);
    ++removed;
  }
  sizes_[table] -= removed;
  return removed;
}

Counts Store::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  for (const int64_t size : sizes_) counts.rows += size;
  for (const auto& group : groups_) counts.bytes += static_cast<int64_t>(group->index.bytes() + group->rows.bytes());
  return counts;
}

}  // namespace larix
