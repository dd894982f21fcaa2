// The store's side of admission and of its memory budget: what is counted, who gets memory, when others make room.
#include <algorithm>
#include <utility>

#include "store.hpp"

namespace larix {

namespace {

constexpr size_t kSlices = 2;    // at the end of a call, at least
constexpr unsigned kMostLag = 16;
constexpr size_t kBornEach = 256;  // births of a call that are worth one more

}  // namespace

int64_t Store::least_bytes(size_t groups, int64_t budget) {
  // An index begins with a chunk a shard. Pages of 2 MiB at the end of slabs and index are not all in use but are memory of
  // the process; of a small budget they would be too much.
  const auto index = static_cast<int64_t>(groups * Index::kShards * Chunks::kBytes);
  return index + std::min(static_cast<int64_t>(groups * 2 * kHugePage), budget / 32);
}

uint32_t Store::clock() const {
  const std::lock_guard lock(mutex_);
  return clock_.now;
}

void Store::set_clock(uint32_t now) {
  const std::lock_guard lock(mutex_);
  clock_.now = now;
  clock_.open = true;
  clock_.ticking = false;
}

void Store::count_share(unsigned me, unsigned threads) {
  constexpr size_t kAhead = 16;
  for (const Scratch& finder : scratch_) {
    for (const std::vector<Miss>& misses : finder.misses) {
      for (size_t at = 0; at < misses.size(); ++at) {
        if (at + kAhead < misses.size()) {
          const Miss& later = misses[at + kAhead];
          if (const auto& sketch = rules_.admissions[later.table].sketch) sketch->prefetch(later.id);
        }
        const Miss& miss = misses[at];
        const auto& sketch = rules_.admissions[miss.table].sketch;
        if (!sketch || (threads > 1 && sketch->owner(miss.id, threads) != me)) continue;
        sketch->add(miss.id);
        ++scratch_[me].counted[miss.table];
      }
    }
  }
}

void Store::age_sketches() {
  for (size_t table = 1; table < rules_.admissions.size(); ++table) {
    if (!rules_.admissions[table].sketch) continue;
    uint64_t counted = 0;
    for (Scratch& scratch : scratch_) counted += std::exchange(scratch.counted[table], 0);
    rules_.admissions[table].sketch->age(counted);
  }
}

int64_t Store::house(std::span<const Slot> slots, bool must) {
  std::vector<std::vector<Miss>> homeless(groups_.size());
  bool any = false;
  for (Scratch& scratch : scratch_) {
    for (const Miss& miss : scratch.born.homeless) homeless[group_numbers_[miss.table]].push_back(miss);
    any |= !scratch.born.homeless.empty();
    scratch.born.homeless.clear();
  }
  if (!any) return 0;
  for (const Slot& slot : slots) group_of(slot.table).hold({slot.handles, slot.count});
  int64_t short_of = 0;
  Born& born = scratch_[0].born;
  for (size_t number = 0; number < groups_.size(); ++number) {
    Group& group = *groups_[number];
    // Those that may not be refused first.
    std::stable_partition(homeless[number].begin(), homeless[number].end(),
                          [&](const Miss& miss) { return !rules_.policies[miss.table].refuses(); });
    bool room = true, force = true;  // whether making more of it may help
    for (size_t at = 0; at < homeless[number].size(); ++at) {
      const Miss& miss = homeless[number][at];
      const auto housed = [&] {
        if (!give_row(group, rules_, miss, false, born) && !give_row(group, rules_, miss, true, born)) return false;
        group.hold({miss.handle, 1});
        return true;
      };
      if (housed()) continue;
      if (room) {
        room_->make(number, homeless[number].size() - at, false);
        if ((room = housed())) continue;
      }
      if (force && !must && !rules_.policies[miss.table].refuses()) {
        room_->make(number, 1, true);
        if ((force = housed())) continue;
      }
      if (must || !rules_.policies[miss.table].refuses()) short_of += static_cast<int64_t>(group.rows.cost());
      *miss.handle = kRefused;
      born.refused += !must;
    }
  }
  return short_of;
}

void Store::note_lag(std::span<const Slot> slots) {
  if (!room_->needed()) return;
  if (clock_.steps % 64 == 0 && clock_.lag > 0) --clock_.lag;
  for (const Slot& slot : slots) {
    const Handle* const found = std::find_if(slot.handles, slot.handles + slot.count, has_row);
    if (found == slot.handles + slot.count) continue;
    clock_.lag = std::max(clock_.lag, std::min(group_of(slot.table).since_held(row_of(*found)), kMostLag));
    return;
  }
}

void Store::look_ahead() {
  if (tier_) mind_tier();
  if (!room_->needed()) return;
  limit_gone();
  room_->expect(newborn_);
  if (background_ && background_->alive()) return background_->wake();
  size_t born = 0;
  for (const size_t each : newborn_) born += each;
  for (size_t slices = kSlices + born / kBornEach; slices && room_->slice(); --slices) {
  }
}

}  // namespace larix
