// The store's rows by table and id: what is there, and what is read, put and taken away without a batch.
#include <algorithm>
#include <utility>

#include "store.hpp"
#include "tier.hpp"

namespace larix {

int64_t Store::rows(uint32_t table) const {
  const std::lock_guard lock(mutex_);
  return sizes_[table];
}

std::vector<int64_t> Store::keys(uint32_t table, Status* disk) const {
  const std::lock_guard lock(mutex_);
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(sizes_[table]));
  const Group& group = group_of(table);
  group.index.each([&](uint32_t row) {
    const Header& header = group.rows.header(row);
    if (header.table == table) ids.push_back(header.id);
  });
  Status status;
  if (tier_) status = tier_->keys(group_at(table), table, ids);
  if (disk) *disk = std::move(status);
  return ids;
}

void Store::read(uint32_t table, std::span<const int64_t> ids, float* weights, float* state, Status* disk) const {
  const std::lock_guard lock(mutex_);
  const Group& group = group_of(table);
  const size_t dim = group.dim, states = group.state();
  std::vector<Miss> misses;
  const std::vector<Handle> handles = handles_of(table, ids, misses);
  const auto copy = [&](size_t at, const char* row) {
    if (weights) group.load_weights(row, weights + at * dim);
    if (state) std::copy_n(group.state_of(row), states, state + at * states);
  };
  for (size_t at = 0; at < ids.size(); ++at) {
    if (handles[at] == kNoHandle) {
      if (weights) std::fill_n(weights + at * dim, dim, 0.0f);
      if (state) std::fill_n(state + at * states, states, 0.0f);
    } else {
      copy(at, group.rows.at(row_of(handles[at])));
    }
  }
  if (!tier_ || misses.empty()) return;
  std::vector<ColdKey> away;
  for (const Miss& miss : misses) away.push_back({miss.id, table});
  Status status = tier_->read(group_at(table), away, [&](size_t key, const char* row) {
    copy(static_cast<size_t>(misses[key].handle - handles.data()), row);
  });
  if (disk) *disk = std::move(status);
}

int64_t Store::put(uint32_t table, std::span<const int64_t> ids, const float* weights, const float* state,
                   const uint32_t* seen, const float* score, Status* disk) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  if (!ids.empty()) clock_.open = true;
  ++clock_.turns;
  Group& group = group_of(table);
  const size_t dim = group.dim, states = group.state();
  std::vector<Miss> misses;
  std::vector<Handle> handles = handles_of(table, ids, misses);  // written to by give_row
  Status status;
  if (tier_) recall_ids(table, ids, handles, misses, status);
  if (!status.ok()) {
    if (disk) *disk = std::move(status);
    return 0;
  }
  Born& born = scratch_[0].born;
  for (const Miss& miss : misses) {
    if (!give_row(group, rules_, miss, false, born)) born.homeless.push_back(miss);
  }
  const Slot slot{.table = table, .ids = ids.data(), .count = ids.size(), .samples = ids.size(), .handles = handles.data()};
  const bool moved = !born.homeless.empty();  // memory is being moved about, perhaps rows as well
  const int64_t short_of = house({&slot, 1}, true);
  if (moved) {
    misses.clear();
    verify(group, table, ids.data(), ids.size(), handles.data(), misses);
  }
  const int64_t inserted = counts_.inserted;
  count_births();
  counts_.inserted = inserted;  // which counts lookups
  for (size_t at = 0; at < ids.size(); ++at) {
    if (!has_row(handles[at])) continue;
    const uint32_t number = row_of(handles[at]);
    char* row = group.rows.at(number);
    Header& header = *reinterpret_cast<Header*>(row);
    group.touch(number, header);
    header.seen = seen ? seen[at] : clock_.now;
    if (score) header.score = score[at];
    group.store_weights(row, weights + at * dim);
    if (states) std::copy_n(state + at * states, states, group.state_of(row));
  }
  group.hold(handles);
  look_ahead();
  if (disk) *disk = room_->trouble();
  return short_of;
}

int64_t Store::remove(uint32_t table, std::span<const int64_t> ids, Status* disk) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  Group& group = group_of(table);
  int64_t removed = 0;
  std::vector<int64_t> others;
  for (const int64_t id : ids) {
    const uint64_t hash = place_hash(id, table);
    const uint32_t row = group.find(hash, table, id);
    if (row == kNoRow) {
      if (tier_) others.push_back(id);
      continue;
    }
    group.drop(hash, row);
    ++removed;
  }
  Status status;
  if (tier_) removed += remove_away(table, others, status);
  if (disk) *disk = std::move(status);
  sizes_[table] -= removed;
  return removed;
}

}  // namespace larix
