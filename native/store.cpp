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
    groups_.push_back(std::make_unique<Group>(spec.dim, spec.precision, spec.optimizer, clock_, rules_.policies, ledger_));
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
        {
          const std::unique_lock lock(mutex_, std::try_to_lock);
          if (!lock) return true;  // calls come first
          limit_gone();
          more = room_->slice();
          if (tier_) more |= tier_->compact(kCompacted);
          if (tier_) charge_tier();
        }
        if (tier_) tier_->settle();
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
  const size_t begin = slot.begin(first), end = slot.begin(last), group = group_numbers_[slot.table];
  std::vector<Miss>& misses = scratch_[me].misses[group];
  const size_t before = misses.size();
  if (births != Births::done) {
    find(*groups_[group], slot.table, slot.ids + begin, end - begin, slot.handles + begin, misses);
  }
  // A slot is gathered while its handles are at hand, unless it has to wait for births.
  if (births == Births::may_follow && misses.size() != before) {
    if (rules_.admissions[slot.table].sketch) {  // all misses must be known before any is admitted
      verify(*groups_[group], slot.table, slot.ids + begin, end - begin, slot.handles + begin, misses);
    }
    return false;
  }
  larix::gather(*groups_[group], slot, first, last, misses);
  if (births != Births::none && room_->needed()) groups_[group]->hold({slot.handles + begin, end - begin});
  return misses.size() == before;
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
      insert(*groups_[group], rules_, finder.misses[group], me, threads, scratch_[me].born);
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
  if (lost && tier_) counts_.lost -= apply_late(slots, lr_scale, clicks, status);
  ++clock_.steps;
  if (disk) *disk = std::move(status);
}

Store::Applied Store::apply_found(std::span<const Slot> slots, double lr_scale, const float* clicks) {
  clock_.open = true;
  std::vector<std::vector<Slot>> by_group(groups_.size());
  for (const Slot& slot : slots) by_group[group_numbers_[slot.table]].push_back(slot);
  std::vector<size_t> totals, bins;
  std::vector<float> rates;
  for (size_t group = 0; group < groups_.size(); ++group) {
    totals.push_back(static_cast<size_t>(total_ids(by_group[group])));
    bins.push_back(bins_for(*groups_[group], totals[group]));
    dealt_[group].resize(scratch_.size());
    rates.push_back(groups_[group]->optimizer.rate(clock_.steps, lr_scale));
  }
  run(slots, [&](unsigned me, unsigned threads) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      const auto [first, last] = part(totals[group], me, threads);
      deal(by_group[group], clicks, first, last, bins[group], dealt_[group][me]);
    }
  });
  std::vector<std::atomic<size_t>> next(groups_.size());  // bins are taken as threads come free
  run(slots, [&](unsigned me, unsigned threads) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      const std::span<const Bins> hands(dealt_[group].data(), threads);
      scratch_[me].lost += hands[me].lost;
      scratch_[me].dealt += hands[me].lost + static_cast<int64_t>(hands[me].ends.back());
      for (size_t bin; (bin = next[group].fetch_add(1, std::memory_order_relaxed)) < bins[group];) {
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
  std::vector<Handle> handles = handles_of(table, ids, misses);  // written to by settle
  Status status;
  if (tier_) recall_ids(table, ids, handles, misses, status);
  if (!status.ok()) {
    if (disk) *disk = std::move(status);
    return 0;
  }
  Born& born = scratch_[0].born;
  for (const Miss& miss : misses) {
    if (!settle(group, rules_, miss, false, born)) born.homeless.push_back(miss);
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
