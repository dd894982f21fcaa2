// Which rows of a replica are hot: those that are used most, by counts that readers sample and that age.
//
// TinyLFU (Einziger, Friedman and Manes, 2017) is where the ageing is from: counts are halved whenever ten uses for each row
// that is hot have been noted. A hot row counts as used once more than it was, so that equals do not change places.
#include <algorithm>
#include <array>

#include "replica.hpp"

namespace larix {

namespace {

constexpr int64_t kWindow = 10;   // uses noted for each hot row before counts are halved
constexpr size_t kTogether = 512;  // rows read from disk at once
constexpr int64_t kWorth = 1024;   // hot rows for each that is to become so

constexpr unsigned kLevels = 256;  // of use
unsigned rank_of_hot(uint8_t uses) { return std::min(uses + 1u, kLevels - 1); }

}  // namespace

// Cold rows of more than ``bar`` uses are to become hot, with ``some`` of those of so many; hot ones of a lower rank than
// ``floor`` cold, with ``more`` bytes of those of that rank.
struct Replica::Plan {
  unsigned bar = kLevels;
  size_t some = 0;
  unsigned floor = 0;
  size_t more = 0;
};

void Replica::Reading::heat(uint32_t table, std::span<const int64_t> ids, uint16_t* heat) const {
  const ReplicaShelf& shelf = *replica_.shelves_[table];
  const uint8_t next = mark_of(version_ + 1);
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint64_t hash = place_hash(ids[i], table);
    const ReplicaIndex::View& view = replica_.index_.view(hash);
    const uint32_t row = view.find(view.home(hash), table, ids[i], next);
    heat[i] = row == 0 || ReplicaShelf::is_cold(row) ? 0 : kHot;
    if (row != 0 && shelf.leveled()) heat[i] += shelf.uses_of(row).load(std::memory_order_relaxed);
  }
}

Replica::Plan Replica::plan(size_t most) const {
  std::array<size_t, kLevels> hot{}, cold{}, cold_rows{};  // bytes that rows take when hot, by rank; rows
  for (const auto& shelf : owned_) {
    const size_t stride = shelf->hot_stride();
    shelf->each_uses(true, [&](auto uses) { hot[rank_of_hot(uses.load(std::memory_order_relaxed))] += stride; });
    shelf->each_uses(false, [&](auto uses) {
      const uint8_t rank = uses.load(std::memory_order_relaxed);
      cold[rank] += stride;
      ++cold_rows[rank];
    });
  }
  // Places without a row seem to have an unused one.
  hot[1] = static_cast<size_t>(heat_.shown);
  for (unsigned rank = 2; rank < kLevels; ++rank) hot[1] -= std::min(hot[1], hot[rank]);

  unsigned fits = kLevels;  // rows of this rank and above
  for (size_t sum = 0; fits > 1; --fits) {
    sum += hot[fits - 1] + cold[fits - 1];
    if (sum > heat_.budget) break;
  }
  Plan plan;
  size_t rows = 0, bytes = static_cast<size_t>(heat_.shown);
  while (plan.bar > fits && rows < most) {
    --plan.bar;
    plan.some = std::min(cold_rows[plan.bar], most - rows);
    rows += plan.some;
    if (plan.some) bytes += cold[plan.bar] / cold_rows[plan.bar] * plan.some;
  }
  if (static_cast<int64_t>(rows) <= heat_.rows_shown / kWorth) return {};  // not worth going through the index
  plan.more = bytes - std::min(bytes, heat_.budget);
  while (plan.floor + 1 < fits && plan.more > hot[plan.floor]) plan.more -= hot[plan.floor++];
  return plan;
}

// Finds the rows that a plan speaks of.
void Replica::look_for(const Plan& plan, std::vector<Mover>& up, std::vector<Mover>& down) const {
  size_t some = plan.some, more = plan.more;
  index_.each([&](const Cell& cell, Entry entry) {
    const ReplicaShelf& shelf = *shelves_[entry.table()];
    const uint8_t uses = shelf.uses_of(entry.row()).load(std::memory_order_relaxed);
    const Mover mover{place_hash(cell.load_id(), entry.table()), cell.load_id(), entry.row(), entry.table()};
    if (ReplicaShelf::is_cold(entry.row())) {
      if (uses > plan.bar || (uses == plan.bar && some > 0)) {
        some -= uses == plan.bar;
        up.push_back(mover);
      }
    } else if (const unsigned rank = rank_of_hot(uses); rank < plan.floor) {
      down.push_back(mover);
    } else if (rank == plan.floor && more > 0) {
      more -= std::min(more, shelf.hot_stride());
      down.push_back(mover);
    }
  });
}

// ``whole``: the row as it is encoded hot.
Status Replica::move(const Mover& mover, const char* whole) {
  index_.make_room(mover.hash);
  ReplicaShelf& shelf = *shelves_[mover.table];
  const bool to_hot = ReplicaShelf::is_cold(mover.row);
  const uint32_t row = shelf.take(to_hot, shelf.uses_of(mover.row).load(std::memory_order_relaxed));
  if (Status status = shelf.write_encoded(row, whole); !status.ok()) {
    shelf.give_back(row);
    return status;
  }
  show(mover.hash, mover.table, mover.id, index_.living(mover.hash, mover.table, mover.id), row);
  const auto bytes = static_cast<int64_t>(shelf.hot_stride());
  heat_.added += to_hot ? bytes : -bytes;
  ++(to_hot ? promoting_ : demoting_);
  return {};
}

Status Replica::adapt(size_t most, size_t& moved) {
  if (owned_.empty() || !owned_.front()->leveled()) return {};
  std::vector<Mover> up, down;
  if (const Plan wanted = plan(most); wanted.bar < kLevels) look_for(wanted, up, down);
  age();
  prepare(up.size() + down.size());
  for (const Mover& mover : down) {
    if (Status status = move(mover, shelves_[mover.table]->hot(mover.row)); !status.ok()) return status;
    ++moved;
    recycle();
  }
  std::sort(up.begin(), up.end(), [](const Mover& one, const Mover& other) {
    return one.table != other.table ? one.table < other.table : one.row < other.row;
  });
  std::vector<char> whole;
  std::vector<RowFile::Wanted> wanted;
  for (size_t first = 0, end; first < up.size(); first = end) {
    const ReplicaShelf& shelf = *shelves_[up[first].table];
    const size_t stride = shelf.hot_stride();
    whole.resize(kTogether * stride);
    wanted.clear();
    for (end = first; end < up.size() && end - first < kTogether && up[end].table == up[first].table; ++end) {
      wanted.push_back({up[end].row, whole.data() + (end - first) * stride});
    }
    if (Status status = shelf.read(wanted, disk_); !status.ok()) return status;
    for (size_t at = first; at < end && heat_.room(stride); ++at) {
      if (Status status = move(up[at], whole.data() + (at - first) * stride); !status.ok()) return status;
      ++moved;
    }
    recycle();
  }
  return {};
}

void Replica::age() {
  const int64_t lookups = counts().lookups;
  if (lookups - aged_ < kWindow * static_cast<int64_t>(kSampled) * std::max<int64_t>(1, heat_.rows_shown)) return;
  aged_ = lookups;
  const auto halve = [](auto uses) { uses.store(uses.load(std::memory_order_relaxed) / 2, std::memory_order_relaxed); };
  for (const auto& shelf : owned_) {
    shelf->each_uses(true, halve);
    shelf->each_uses(false, halve);
  }
}

}  // namespace larix
