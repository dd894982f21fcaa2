#include "room.hpp"

#include <algorithm>
#include <utility>

namespace larix {

namespace {

constexpr size_t kFewestGone = 65536;    // of a group that are listed: a megabyte
constexpr size_t kFewestLimited = 4096;  // the same within a memory budget
constexpr size_t kLooked = 8192;    // rows of a slice that are looked at
constexpr size_t kDropped = 1024;   // that go at most
constexpr size_t kSpilled = 8192;   // that go to disk at most: they go together
constexpr size_t kMoved = 512;      // that are moved
constexpr size_t kShrunk = 16384;   // whose memory goes to another group at a time

}  // namespace

Room::Room(std::span<const std::unique_ptr<Group>> groups, const TableRules& rules, const Clock& clock,
           std::vector<int64_t>& sizes, Ledger& ledger, bool limited)
    : groups_(groups),
      ledger_(ledger),
      limited_(limited),
      expected_(groups.size()),
      sweep_(groups, rules, clock, sizes) {
  for (const auto& group : groups) widest_ = std::max(widest_, group->rows.row_bytes());
}

void Room::expect(std::span<const size_t> born) {
  for (size_t group = 0; group < born.size(); ++group) {
    expected_[group] = std::max(born[group], expected_[group] - (expected_[group] + 15) / 16);
    if (born[group]) sweep_.restart();
  }
}

size_t Room::at_hand(size_t group) const {
  const Rows& rows = groups_[group]->rows;
  const auto left = static_cast<size_t>(std::max<int64_t>(ledger_.left() - static_cast<int64_t>(rows.unpaid()), 0));
  return rows.spare() + left / (Rows::kExtent * rows.cost()) * Rows::kExtent;
}

Room::Lack Room::lack() const {
  Lack lack{.bytes = -ledger_.left(), .surplus = 0, .richest = 0, .rows = 0};
  for (size_t group = 0; group < groups_.size(); ++group) {
    const Rows& rows = groups_[group]->rows;
    // Free rows for two calls like those before, but not most of the memory for a promise.
    size_t wanted = expected_[group] ? std::min(2 * expected_[group], rows.high() / 16) + Rows::kExtent : 0;
    if (at_work_) wanted += wanted / 2;  // once at it, it does not stop at the first row that is enough
    const size_t free = rows.spare();
    if (free < wanted) {
      lack.bytes += static_cast<int64_t>((wanted - free) * rows.cost());
    } else {
      const size_t more = free - wanted;
      lack.surplus += static_cast<int64_t>(more * rows.row_bytes());
      if (more > lack.rows) lack.rows = more, lack.richest = group;
    }
  }
  return lack;
}

size_t Room::most_gone(const Group& group) const {
  return std::max(limited_ ? kFewestLimited : kFewestGone, group.rows.high() / 4);
}

void Room::charge_gone() {
  size_t bytes = 0;
  for (const auto& group : groups_) {
    if (group->clock.tracked) bytes += Gone::bytes_of(most_gone(*group));
  }
  ledger_.charge(static_cast<int64_t>(bytes) - static_cast<int64_t>(std::exchange(gone_, bytes)));
}

bool Room::slice() {
  if (!limited_) {
    if (sweep_.timed()) sweep_.slice(kLooked, 0);
    return false;
  }
  if (shrink_.working()) {
    shrink_.slice(kMoved);
    return true;
  }
  charge_gone();
  const Lack lack = this->lack();
  if (lack.bytes <= 0) {
    at_work_ = false;
    if (sweep_.timed()) sweep_.slice(kLooked, 0);
    return false;
  }
  if (lack.surplus >= lack.bytes && lack.rows >= 2 * Rows::kExtent) {
    shrink_.begin(*groups_[lack.richest], std::min(lack.rows, kShrunk));
    if (shrink_.working()) return at_work_ = true;
  }
  if (sweep_.exhausted()) return at_work_ = false;
  sweep_.slice(kLooked, std::min(static_cast<size_t>(lack.bytes), (tiered_ ? kSpilled : kDropped) * widest_));
  return at_work_ = sweep_.trouble().ok();  // of which the next call that makes room will say more
}

void Room::make(size_t group, size_t rows, bool force) {
  if (!limited_) return;
  charge_gone();
  sweep_.restart();
  const auto finish = [this] {
    while (shrink_.working()) shrink_.slice(kShrunk);
  };
  finish();  // it may be this group that shrinks: it gives out no rows then
  while (at_hand(group) < rows) {
    size_t richest = group, most = 2 * Rows::kExtent;
    for (size_t other = 0; other < groups_.size(); ++other) {
      if (other != group && groups_[other]->rows.spare() > most) most = groups_[richest = other]->rows.spare();
    }
    const size_t before = at_hand(group);
    if (richest != group) {
      shrink_.begin(*groups_[richest], std::min(most, kShrunk));
      finish();
      if (at_hand(group) > before) continue;
    }
    // A segment of a few rows is not worth its file.
    const size_t together = tiered_ ? std::min(kSpilled, groups_[group]->rows.high() / 16) : 0;
    const size_t wanted = std::max(rows - before, together) * groups_[group]->rows.cost();
    sweep_.hurry(wanted);
    const size_t freed = sweep_.slice(SIZE_MAX, wanted, force);
    trouble_ = sweep_.trouble();
    if (freed == 0 || !trouble_.ok()) return;
  }
}

}  // namespace larix
