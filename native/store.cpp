#include "store.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <utility>

#include "tier.hpp"

namespace larix {

namespace {

// Between looks of the background thread that nobody asked for: rows whose time is over go without anybody's need.
constexpr std::chrono::milliseconds kTimed{10}, kUntimed{1000};
constexpr size_t kCompacted = size_t{128} << 10;  // bytes of a slice of compaction
constexpr size_t kPortion = 1024;  // samples whose rows are found, born and gathered together
constexpr size_t kFew = 8;         // one of so many samples misses a row: then portions do not pay
constexpr int64_t kWorthThreads = 4096;  // ids in a call from which waking threads pays

int64_t total_ids(std::span<const Slot> slots) {
  size_t total = 0;
  for (const Slot& slot : slots) total += slot.count;
  return static_cast<int64_t>(total);
}

int64_t sketch_bytes(const std::vector<TableSpec>& tables) {
  size_t total = 0;
  for (const TableSpec& spec : tables) total += spec.admission.sketch ? spec.admission.sketch->bytes() : 0;
  return static_cast<int64_t>(total);
}

}  // namespace

Store::Store(const std::vector<GroupSpec>& groups, std::vector<TableSpec> tables, unsigned threads, Budget budget)
    : ledger_(budget.bytes ? budget.bytes - least_bytes(groups.size(), budget.bytes) - sketch_bytes(tables)
                           : Ledger::kUnlimited),
      group_numbers_(1),
      sizes_(tables.size() + 1),
      newborn_(groups.size()),
      returned_(groups.size()),
      scratch_(threads),
      threads_(threads),
      wants_background_(budget.background) {
  rules_.births.resize(1);
  rules_.admissions.resize(1);
  rules_.policies.resize(1);
  for (TableSpec& spec : tables) {
    group_numbers_.push_back(static_cast<uint32_t>(spec.group));
    rules_.births.push_back(spec.birth);
    rules_.policies.push_back(spec.policy);
    counts_misses_ |= spec.admission.sketch != nullptr;
    rules_.admissions.push_back(std::move(spec.admission));
  }
  for (const GroupSpec& spec : groups) {
    const auto its = std::count(group_numbers_.begin() + 1, group_numbers_.end(), groups_.size());
    groups_.push_back(std::make_unique<Group>(static_cast<size_t>(its), spec.dim, spec.precision, spec.optimizer, clock_, rules_.policies, ledger_));
  }
  for (size_t table = 1; table < group_numbers_.size(); ++table) {
    Group& group = group_of(static_cast<uint32_t>(table));
    const std::vector<float> nothing(group.dim, tables[table - 1].nothing);
    group.nothing[table].resize(weight_bytes(group.precision, group.dim));
    store(group.precision, nothing.data(), group.nothing[table].data(), group.dim);
    group.evicts |= rules_.policies[table].keep != Keep::always;
  }
  for (Scratch& scratch : scratch_) {
    scratch.misses.resize(groups.size());
    scratch.born.rows.resize(tables.size() + 1);
    scratch.counted.resize(tables.size() + 1);
  }
  dealt_.resize(groups.size());
  room_ = std::make_unique<Room>(groups_, rules_, clock_, sizes_, ledger_, budget.bytes != 0);
  if (wants_background_ && room_->needed()) make_background();
}

Store::~Store() = default;

void Store::make_background() {
  background_ = std::make_unique<Background>(
      [this] {
        bool more;
        Tier* tier;  // looked for while nobody opens one
        {
          const std::unique_lock lock(mutex_, std::try_to_lock);
          if (!lock) return true;  // calls come first
          limit_gone();
          more = room_->slice();
          tier = tier_.get();
          if (tier) more |= tier->compact(kCompacted);
          if (tier) charge_tier();
        }
        if (tier) tier->settle();
        return more;
      },
      room_->timed() ? kTimed : kUntimed);
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

int64_t Store::gather(std::span<const Slot> slots, bool insert, Status* disk) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  clear_misses();
  if (insert) tick();
  run(slots, [&](unsigned me, unsigned threads) {
    scratch_[me].late.clear();
    for (const Slot& slot : slots) {
      if (!gather_part(slot, me, threads, insert ? Births::may_follow : Births::none) && (insert || tier_)) {
        scratch_[me].late.push_back(&slot);
      }
    }
  });
  counts_.lookups += total_ids(slots);
  const auto gather_late = [&](Births births) {
    clear_misses();
    run(slots, [&](unsigned me, unsigned threads) {
      std::erase_if(scratch_[me].late, [&](const Slot* slot) { return gather_part(*slot, me, threads, births); });
    });
  };
  int64_t short_of = 0;
  size_t back = 0;  // rows that were on disk
  Status status;
  if (tier_) back = recall_missed(slots, short_of, status);
  if (!insert) {
    if (back) gather_late(Births::none);
    counts_.missing += total_misses();
  } else {
    if (counts_misses_ && total_misses() != 0) {
      run(slots, [&](unsigned me, unsigned threads) { count_share(me, threads); });
    }
    // One round, or one more for ids whose tag was that of another's row.
    while ((total_misses() != 0 || back) && status.ok()) {
      run(slots, [&](unsigned me, unsigned threads) { insert_share(me, threads); });
      short_of += house(slots, false);
      gather_late(Births::done);
      back = tier_ ? recall_missed(slots, short_of, status) : 0;
    }
    if (counts_misses_) age_sketches();
    count_births();
  }
  if (insert) {
    look_ahead();
  } else if (tier_) {
    mind_tier();
  }
  if (status.ok()) status = room_->trouble();
  if (disk) *disk = std::move(status);
  return short_of;
}

bool Store::gather_part(const Slot& slot, unsigned me, unsigned threads, Births births) {
  const auto [first, last] = part(slot.samples, me, threads);
  const size_t begin = slot.begin(first), end = slot.begin(last), number = group_at(slot.table);
  Group& group = *groups_[number];
  std::vector<Miss>& misses = scratch_[me].misses[number];
  const size_t before = misses.size();
  // Rows may be born at once if nobody else is at work and nothing need be known of other tables before.
  const bool at_once = births == Births::may_follow && threads == 1 && !tier_ && !counts_misses_;
  if (at_once) {
    gather_and_bear(slot, misses);
  } else if (births == Births::done) {
    larix::gather(group, slot, first, last, misses);
  } else if (const size_t next = find_and_gather(group, slot, first, last, births == Births::may_follow, misses); next != last) {
    if (rules_.admissions[slot.table].sketch) {  // all misses must be known before any is admitted
      verify(group, slot.table, slot.ids + begin, end - begin, slot.handles + begin, misses);
    }
    return false;
  }
  if (births != Births::none && room_->needed()) group.hold({slot.handles + begin, end - begin});
  return misses.size() == before;
}

void Store::gather_and_bear(const Slot& slot, std::vector<Miss>& misses) {
  Group& group = group_of(slot.table);
  Born& born = scratch_[0].born;
  size_t portion = kPortion;
  for (size_t first = 0, last = 0; first < slot.samples; first = last) {
    last = std::min(first + portion, slot.samples);
    const size_t before = misses.size();
    const size_t next = find_and_gather(group, slot, first, last, true, misses);
    const std::span<const Miss> missed = std::span(misses).subspan(before);
    if (missed.size() * kFew < last - first) portion = slot.samples;
    if (missed.empty()) continue;
    expect_rows(group, missed, 0, 1);
    give_rows(group, rules_, missed, 0, 1, born);
    misses.resize(before);
    misses.insert(misses.end(), born.homeless.begin(), born.homeless.end());
    born.homeless.clear();
    larix::gather(group, slot, next, last, misses);
  }
}

std::vector<Handle> Store::handles_of(uint32_t table, std::span<const int64_t> ids, std::vector<Miss>& misses) const {
  std::vector<Handle> handles(ids.size());
  find(group_of(table), table, ids.data(), ids.size(), handles.data(), misses);
  verify(group_of(table), table, ids.data(), ids.size(), handles.data(), misses);
  return handles;
}

void Store::clear_misses() {
  for (Scratch& scratch : scratch_) {
    for (std::vector<Miss>& misses : scratch.misses) misses.clear();
  }
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
      expect_rows(*groups_[group], finder.misses[group], me, threads);
      give_rows(*groups_[group], rules_, finder.misses[group], me, threads, scratch_[me].born);
    }
  }
}

void Store::count_births() {
  std::swap(newborn_, returned_);
  std::fill(returned_.begin(), returned_.end(), 0);
  for (Scratch& scratch : scratch_) {
    for (size_t table = 1; table < sizes_.size(); ++table) {
      const int64_t born = std::exchange(scratch.born.rows[table], 0);
      sizes_[table] += born;
      counts_.inserted += born;
      newborn_[group_numbers_[table]] += static_cast<size_t>(born);
    }
    counts_.refused += std::exchange(scratch.born.refused, 0);
  }
}

void Store::apply(std::span<const Slot> slots, double lr_scale, const float* clicks, Status* disk) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  note_lag(slots);
  Status status;
  const int64_t lost = apply_found(slots, lr_scale, clicks).lost;
  counts_.lost += lost;
  if (lost && tier_) {
    counts_.lost -= apply_late(slots, lr_scale, clicks, status);
    mind_tier();
  }
  ++clock_.steps;
  if (disk) *disk = std::move(status);
}

Store::Applied Store::apply_found(std::span<const Slot> slots, double lr_scale, const float* clicks) {
  clock_.open = true;
  std::vector<std::vector<Slot>> by_group(groups_.size());
  for (const Slot& slot : slots) by_group[group_numbers_[slot.table]].push_back(slot);
  std::vector<size_t> totals;
  std::vector<Binning> binnings;
  std::vector<float> rates;
  for (size_t group = 0; group < groups_.size(); ++group) {
    totals.push_back(static_cast<size_t>(total_ids(by_group[group])));
    binnings.emplace_back(*groups_[group], by_group[group]);
    dealt_[group].resize(scratch_.size());
    rates.push_back(groups_[group]->optimizer.rate(clock_.steps, lr_scale));
  }
  run(slots, [&](unsigned me, unsigned threads) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      const auto [first, last] = part(totals[group], me, threads);
      deal(by_group[group], rules_.policies, clicks, first, last, binnings[group], dealt_[group][me]);
    }
  });
  std::vector<std::atomic<size_t>> next(groups_.size());  // bins are taken as threads come free
  run(slots, [&](unsigned me, unsigned threads) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      const std::span<const Bins> hands(dealt_[group].data(), threads);
      scratch_[me].lost += hands[me].lost;
      scratch_[me].dealt += hands[me].lost + static_cast<int64_t>(hands[me].ends.back());
      for (size_t bin; (bin = next[group].fetch_add(1, std::memory_order_relaxed)) < binnings[group].bins;) {
        scratch_[me].lost += larix::apply(*groups_[group], rules_.births, hands, bin, rates[group], scratch_[me].sums);
      }
    }
  });
  Applied applied;
  for (Scratch& scratch : scratch_) {
    applied.lost += std::exchange(scratch.lost, 0);
    applied.stepped += std::exchange(scratch.dealt, 0);
  }
  applied.stepped -= applied.lost;
  return applied;
}

void Store::update(Slot slot, double lr_scale, const float* clicks, Status* disk) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  std::vector<Miss> misses;
  std::vector<Handle> handles = handles_of(slot.table, {slot.ids, slot.count}, misses);
  Status status;
  if (tier_) recall_ids(slot.table, {slot.ids, slot.count}, handles, misses, status);
  slot.handles = handles.data();
  if (status.ok()) {
    counts_.lost += apply_found({&slot, 1}, lr_scale, clicks).lost;
    ++clock_.steps;
  }
  if (tier_) mind_tier();
  if (disk) *disk = std::move(status);
}

uint64_t Store::steps() const {
  const std::lock_guard lock(mutex_);
  return clock_.steps;
}

void Store::set_steps(uint64_t steps) {
  const std::lock_guard lock(mutex_);
  clock_.steps = steps;
}

Counts Store::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  for (const int64_t size : sizes_) counts.rows += size;
  for (const auto& group : groups_) {
    counts.bytes += static_cast<int64_t>(group->index.bytes() + group->rows.bytes() + group->gone.bytes());
    counts.bytes += static_cast<int64_t>(group->away.bytes());
  }
  if (tier_) counts.bytes += tier_->memory();
  for (const Admission& admission : rules_.admissions) {
    if (admission.sketch) counts.bytes += static_cast<int64_t>(admission.sketch->bytes());
  }
  counts.evicted = room_->evicted();
  return counts;
}

}  // namespace larix
