#include "evict.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "hash.hpp"
#include "tier.hpp"

namespace larix {

namespace {

constexpr size_t kAhead = 16;       // headers asked for ahead of use
constexpr size_t kTogether = 8192;  // rows that go to disk at a time, at most

}  // namespace

Sweep::Sweep(std::span<const std::unique_ptr<Group>> groups, const TableRules& rules, const Clock& clock,
             std::vector<int64_t>& sizes)
    : groups_(groups), rules_(rules), clock_(clock), sizes_(sizes), swept_(groups.size()) {
  for (const Policy& policy : rules.policies) {
    any_ |= policy.keep != Keep::always;
    timed_ |= policy.keep == Keep::live;
    samples_.resize(std::max<size_t>(samples_.size(), policy.pool + 1));
  }
  thresholds_.resize(samples_.size());
  for (size_t group = 0; group < groups.size(); ++group) swept_[group] = groups[group]->evicts;
}

size_t Sweep::total() const {
  size_t rows = 0;
  for (size_t group = 0; group < groups_.size(); ++group) {
    if (swept_[group]) rows += groups_[group]->rows.high();
  }
  return rows;
}

void Sweep::sample(size_t group, uint32_t row) {
  const Header& header = groups_[group]->rows.header(row);
  if (header.table == 0) return;
  const Policy& policy = rules_.policies[header.table];
  if (policy.keep != Keep::always) samples_[policy.pool].push_back(policy.priority(header, clock_.now));
}

void Sweep::set_thresholds() {
  const size_t all = total();
  for (std::vector<double>& sample : samples_) sample.clear();
  if (all <= 2 * kSample) {
    for (size_t group = 0; group < groups_.size(); ++group) {
      if (!swept_[group]) continue;
      for (size_t row = 0; row < groups_[group]->rows.high(); ++row) sample(group, static_cast<uint32_t>(row));
    }
  } else {
    struct Draw {
      size_t group;
      uint32_t row;
    };
    std::array<Draw, kAhead> ring;
    for (size_t drawn = 0; drawn < kSample + kAhead; ++drawn) {
      Draw& draw = ring[drawn % kAhead];
      if (drawn >= kAhead) sample(draw.group, draw.row);
      size_t row = static_cast<size_t>((mix(++draws_ * kGolden) >> 32) * all >> 32), group = 0;
      while (!swept_[group] || row >= groups_[group]->rows.high()) {
        if (swept_[group]) row -= groups_[group]->rows.high();
        ++group;
      }
      draw = {group, static_cast<uint32_t>(row)};
      __builtin_prefetch(groups_[group]->rows.at(draw.row));
    }
  }
  if (std::all_of(samples_.begin(), samples_.end(), [](const auto& sample) { return sample.empty(); })) share_ = 1.0;
  for (size_t pool = 0; pool < samples_.size(); ++pool) {
    std::vector<double>& sample = samples_[pool];
    if (sample.empty() || share_ >= 1.0) {
      thresholds_[pool] = {std::numeric_limits<double>::infinity(), 0};
      continue;
    }
    const double wanted = share_ * static_cast<double>(sample.size());
    const auto at = sample.begin() + static_cast<std::ptrdiff_t>(wanted);
    std::nth_element(sample.begin(), at, sample.end());
    const auto below = std::count_if(sample.begin(), sample.end(), [at](double one) { return one < *at; });
    const auto even = std::count(sample.begin(), sample.end(), *at);
    const double part = (wanted - static_cast<double>(below)) / static_cast<double>(even);
    thresholds_[pool] = {*at, static_cast<uint64_t>(std::clamp(part, 0.0, 1.0) * 0x1p32) + 1};
  }
  fresh_ = std::max<size_t>(all / 8, 1024);
}

bool Sweep::goes(const Header& header, bool wanted) const {
  const Policy& policy = rules_.policies[header.table];
  if (policy.over(header, clock_.now)) return true;
  if (!wanted || policy.keep == Keep::always) return false;
  const Threshold& threshold = thresholds_[policy.pool];
  const double priority = policy.priority(header, clock_.now);
  if (priority > threshold.priority) return false;
  return priority < threshold.priority || mix(static_cast<uint64_t>(header.id) + draws_) >> 32 < threshold.even;
}

bool Sweep::held(const Group& group, uint32_t row, bool force) const {
  if (!force) return group.since_held(row) <= clock_.lag + 1;
  return tier_ && group.since_held(row) == 0;  // gradients find their rows again, but a call must not take its own away
}

void Sweep::restart() {
  if (exhausted()) share_ = kShare, fresh_ = 0;
  idle_ = 0;
}

void Sweep::hurry(size_t wanted) {
  size_t bytes = 1;
  for (size_t group = 0; group < groups_.size(); ++group) {
    if (swept_[group]) bytes += groups_[group]->rows.bytes();
  }
  share_ = std::clamp(1.5 * static_cast<double>(wanted) / static_cast<double>(bytes), kShare, 1.0);
  fresh_ = idle_ = 0;
}

size_t Sweep::slice(size_t rows, size_t wanted, bool force) {
  size_t freed = 0;
  std::array<Victim, 64> victims;
  if (!any_) return 0;
  for (size_t looked = 0; looked < rows && (wanted == 0 || freed < wanted);) {
    const size_t all = total();
    if (all == 0) return freed;
    if (wanted && fresh_ == 0) set_thresholds();
    while (!swept_[group_] || row_ >= groups_[group_]->rows.high()) {
      freed += spill(force);
      group_ = (group_ + 1) % groups_.size();
      row_ = 0;
    }
    Group& group = *groups_[group_];
    const size_t end = std::min(group.rows.high(), row_ + std::min(rows - looked, size_t{1024}));
    size_t filled = 0;
    const size_t begin = row_;
    for (; row_ < end && filled < victims.size(); ++row_) {
      const auto row = static_cast<uint32_t>(row_);
      if (row_ + kAhead < end) __builtin_prefetch(group.rows.at(row + kAhead));
      const Header& header = group.rows.header(row);
      if (header.table == 0 || !goes(header, wanted != 0)) continue;
      if (!held(group, row, force)) {
        victims[filled++] = {place_hash(header.id, header.table), row};
      }
    }
    const size_t seen = row_ - begin;
    looked += seen;
    fresh_ -= std::min(fresh_, seen);
    idle_ = filled ? 0 : idle_ + seen;
    const std::span<const Victim> those(victims.data(), filled);
    freed += tier_ ? gather(those, wanted - std::min(wanted, freed), force) : drop(group_, those);
    if (!trouble_.ok()) return freed;
    if (wanted && idle_ > all && share_ < 1.0) {  // a round for nothing: all that is left is above the thresholds
      share_ = std::min(1.0, 2 * share_);
      fresh_ = idle_ = 0;
    } else if (exhausted()) {
      return freed + spill(force);
    }
  }
  if (freed) share_ = std::max(kShare, share_ / 2);
  return freed;
}

size_t Sweep::drop(size_t number, std::span<const Victim> victims) {
  Group& group = *groups_[number];
  for (const Victim& victim : victims) group.index.shard(victim.hash, group.rows.header(victim.row).table).prefetch(Index::tag_of(victim.hash));
  for (const Victim& victim : victims) {
    --sizes_[group.rows.header(victim.row).table];
    group.drop(victim.hash, victim.row);
  }
  evicted_ += static_cast<int64_t>(victims.size());
  return victims.size() * group.rows.row_bytes();
}

size_t Sweep::gather(std::span<const Victim> victims, size_t wanted, bool force) {
  const Group& group = *groups_[group_];
  size_t freed = 0;
  chosen_group_ = group_;
  for (const Victim& victim : victims) {
    const Header& header = group.rows.header(victim.row);
    if (rules_.policies[header.table].over(header, clock_.now)) {
      freed += drop(group_, {&victim, 1});  // for good
    } else {
      chosen_.push_back(victim.row);
    }
  }
  const bool enough = chosen_.size() >= kTogether || freed + chosen_.size() * group.rows.row_bytes() >= wanted;
  return enough && wanted ? freed + spill(force) : freed;
}

size_t Sweep::spill(bool force) {
  if (chosen_.empty()) return 0;
  const Group& group = *groups_[chosen_group_];
  // Some time may have passed since they were chosen.
  std::erase_if(chosen_, [&](uint32_t row) {
    const uint16_t table = row < group.rows.high() ? group.rows.header(row).table : 0;
    return table == 0 || rules_.policies[table].keep == Keep::always || held(group, row, force);
  });
  trouble_ = tier_->spill(chosen_group_, chosen_);
  const size_t freed = trouble_.ok() ? chosen_.size() * group.rows.row_bytes() : 0;
  chosen_.clear();
  return freed;
}

void Shrink::begin(Group& group, size_t rows) {
  if (group_) return;
  const size_t high = group.rows.high() / Rows::kExtent * Rows::kExtent, less = rows / Rows::kExtent * Rows::kExtent;
  if (less == 0 || less >= high) return;
  group_ = &group;
  floor_ = static_cast<uint32_t>(high - less);
  at_ = static_cast<uint32_t>(high);
  shard_ = 0;
  group.rows.vacate(floor_);
}

void Shrink::slice(size_t rows) {
  if (!group_) return;
  bool stuck = false;
  for (; rows && at_ > floor_ && !stuck; --rows) {
    if (at_ >= floor_ + kAhead) __builtin_prefetch(group_->rows.at(at_ - kAhead));
    if (group_->rows.header(at_ - 1).table != 0 && !group_->move(at_ - 1)) {
      stuck = true;
    } else {
      --at_;
    }
  }
  if (at_ > floor_ && !stuck) return;
  if (stuck) rows = SIZE_MAX;  // no free row is left: what was moved so far has to do
  for (; rows && shard_ < Index::kShards; ++shard_, rows -= std::min<size_t>(rows, 64)) group_->rows.forget(shard_);
  if (shard_ < Index::kShards) return;
  group_->rows.cut_off((at_ + Rows::kExtent - 1) / Rows::kExtent * Rows::kExtent);
  group_ = nullptr;
}

}  // namespace larix
