// The store's dealings with its tier on disk: rows come back when they are asked for; who goes is the room's business.
#include <algorithm>
#include <utility>

#include "store.hpp"
#include "tier.hpp"

namespace larix {

namespace {

// Kept for what a tier takes in memory from its first row on: buffers, by group those of a merge and what is remembered of moves.
constexpr int64_t kFixed = int64_t{1} << 20, kEachGroup = int64_t{512} << 10;
constexpr int kSlices = 1024;  // of making room for what the tier takes, at most

Status no_room() {
  return Status::error("rows that come back from disk do not fit in the memory budget; give a larger one");
}

}  // namespace

Status Store::open_tier(const std::string& folder) {
  auto tier = std::make_unique<Tier>(folder, groups_);
  if (Status status = tier->open(); !status.ok()) return status;
  const std::lock_guard lock(mutex_);
  tier_ = std::move(tier);
  room_->send_to(tier_.get());
  charge_tier();
  if (wants_background_ && !background_) make_background();
  return {};
}

size_t Store::recall(Keys keys, std::span<const Slot> held, int64_t& short_of, Status& status) {
  size_t back = 0;
  homeless_.assign(groups_.size(), {});
  for (const Slot& slot : held) group_of(slot.table).hold({slot.handles, slot.count});
  for (size_t group = 0; group < groups_.size() && status.ok(); ++group) {
    status = tier_->fetch(group, std::move(keys[group]));
    back += tier_->waiting(group);
    returned_[group] += tier_->waiting(group);
  }
  for (size_t group = 0; group < groups_.size(); ++group) {
    const auto placed = [&] { return tier_->place(group, false) || tier_->place(group, true); };
    if (tier_->waiting(group) == 0 || placed()) continue;
    for (const bool force : {false, true}) {
      room_->make(group, tier_->waiting(group), force);
      if (placed()) break;
    }
    if (status.ok()) status = room_->trouble();
    const size_t left = tier_->waiting(group);
    if (left == 0) continue;
    short_of += static_cast<int64_t>(left * groups_[group]->rows.cost());
    back -= left;
    homeless_[group] = tier_->put_back(group, status);
    sort_unique(homeless_[group]);
  }
  return back;
}

size_t Store::recall_missed(std::span<const Slot> slots, int64_t& short_of, Status& status) {
  if (total_misses() == 0) return 0;
  Keys keys(groups_.size());
  for (const Scratch& scratch : scratch_) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      for (const Miss& miss : scratch.misses[group]) keys[group].push_back({miss.id, miss.table});
    }
  }
  const size_t back = recall(std::move(keys), slots, short_of, status);
  for (size_t group = 0; group < groups_.size(); ++group) {
    if (back == 0 && homeless_[group].empty()) continue;
    for (Scratch& scratch : scratch_) {
      std::erase_if(scratch.misses[group], [&](const Miss& miss) {
        const uint32_t row = groups_[group]->find(miss.hash, miss.table, miss.id);
        if (row != kNoRow) {
          *miss.handle = row;
          return true;
        }
        // A row that is there but finds no room must not be born again.
        if (!holds(homeless_[group], {miss.id, miss.table})) return false;
        *miss.handle = kRefused;
        return true;
      });
    }
  }
  return back;
}

void Store::recall_ids(uint32_t table, std::span<const int64_t> ids, std::vector<Handle>& handles,
                       std::vector<Miss>& misses, Status& status) {
  if (misses.empty()) return;
  Keys keys(groups_.size());
  for (const Miss& miss : misses) keys[group_at(table)].push_back({miss.id, table});
  const Slot held{.table = table, .ids = ids.data(), .count = ids.size(), .handles = handles.data()};
  int64_t short_of = 0;
  recall(std::move(keys), {&held, 1}, short_of, status);
  if (short_of && status.ok()) status = no_room();
  misses.clear();
  find(group_of(table), table, ids.data(), ids.size(), handles.data(), misses);
  verify(group_of(table), table, ids.data(), ids.size(), handles.data(), misses);
}

int64_t Store::apply_late(std::span<const Slot> slots, double lr_scale, const float* clicks, Status& status) {
  // The same gradients once more, but only to rows that have been away or were moved. kRefused: of others, that have theirs.
  std::vector<std::vector<Handle>> handles;
  std::vector<Slot> late(slots.begin(), slots.end());
  const auto follow = [&](const Slot& slot, Handle& handle, size_t at) {
    Group& group = group_of(slot.table);
    if (handle == kRefused || (handle != kNoHandle && group.alive(handle))) return;
    handle = group.moves->follow(handle == kNoHandle ? slot.handles[at] : handle);
    if (handle != kNoHandle && !group.alive(handle)) handle = kNoHandle;
  };
  Keys away(groups_.size());
  for (size_t number = 0; number < slots.size(); ++number) {
    const Slot& slot = slots[number];
    std::vector<Handle>& now = handles.emplace_back(slot.count, kRefused);
    for (size_t at = 0; at < slot.count; ++at) {
      if (!has_row(slot.handles[at]) || group_of(slot.table).alive(slot.handles[at])) continue;
      now[at] = kNoHandle;
      follow(slot, now[at], at);
      if (now[at] == kNoHandle) away[group_at(slot.table)].push_back({slot.ids[at], slot.table});
    }
    late[number].handles = now.data();
  }
  int64_t short_of = 0;
  ++clock_.turns;  // rows that later calls hold may make room for these: their gradients find them, too
  recall(std::move(away), late, short_of, status);
  if (short_of && status.ok()) status = no_room();
  for (size_t number = 0; number < slots.size(); ++number) {
    for (size_t at = 0; at < slots[number].count; ++at) follow(slots[number], handles[number][at], at);
  }
  return apply_found(late, lr_scale, clicks).stepped;
}

int64_t Store::remove_away(uint32_t table, std::span<const int64_t> ids, Status& status) {
  const size_t group = group_at(table);
  std::vector<ColdKey> keys;
  for (const int64_t id : ids) keys.push_back({id, table});
  sort_unique(keys);
  std::vector<uint8_t> found(keys.size());
  status = tier_->erase(group, keys, found.data());
  if (!status.ok()) return 0;
  int64_t removed = 0;
  for (size_t at = 0; at < keys.size(); ++at) {
    if (!found[at]) continue;
    groups_[group]->note_gone(place_hash(keys[at].id, table), table, keys[at].id);
    ++removed;
  }
  return removed;
}

Status Store::collect_away(size_t number, uint32_t since, std::vector<char>& rows) {
  const Group& group = *groups_[number];
  std::vector<ColdKey> keys;
  for (uint32_t shard = 0; shard < Index::kShards; ++shard) {
    for (const Gone::One& one : group.away.of(shard)) {
      if (one.sequence <= since || group.find(place_hash(one.id, one.table), one.table, one.id) != kNoRow) continue;
      keys.push_back({one.id, one.table});
    }
  }
  sort_unique(keys);
  return tier_->read(number, keys, [&](size_t, const char* row) {
    if (reinterpret_cast<const Header*>(row)->changed > since) rows.insert(rows.end(), row, row + group.rows.stride());
  });
}

int64_t Store::spill(uint32_t table, std::span<const int64_t> ids, Status* disk) {
  const std::lock_guard lock(mutex_);
  const size_t group = group_at(table);
  std::vector<uint32_t> rows;
  for (const int64_t id : ids) {
    const uint32_t row = groups_[group]->find(place_hash(id, table), table, id);
    if (row != kNoRow) rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  Status status = tier_->spill(group, rows);
  mind_tier();
  if (!status.ok()) rows.clear();
  if (disk) *disk = std::move(status);
  return static_cast<int64_t>(rows.size());
}

void Store::mind_tier() {
  const bool helped = background_ && background_->alive();
  tier_->pay(helped);
  charge_tier();
  if (helped) background_->wake();
}

void Store::charge_tier() {
  for (int slices = kSlices;; --slices) {  // rows that make room take memory on disk, too, if less
    int64_t now = tier_->memory();
    for (const auto& group : groups_) now += static_cast<int64_t>(group->away.bytes());
    now = std::max(now, kFixed + kEachGroup * static_cast<int64_t>(groups_.size()));
    ledger_.charge(now - std::exchange(charged_, now));
    if (ledger_.left() >= 0 || slices == 0 || !room_->slice()) return;
  }
}

std::pair<ColdCounts, std::string> Store::cold_counts() const {
  const std::lock_guard lock(mutex_);
  if (!tier_) return {};
  return {tier_->counts(), tier_->trouble()};
}

}  // namespace larix
