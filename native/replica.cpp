#include "replica.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

namespace larix {

namespace {

constexpr size_t kBatch = 64;          // keys hashed and prefetched together
constexpr size_t kWorthThreads = 4096;  // ids in a call from which waking threads pays
constexpr size_t kFewChanges = 4096;    // that are listed however small the tables
constexpr size_t kFewBytes = 1 << 20;   // of index that may wait to be used again however small it is

}  // namespace

Replica::Replica(Format format, const std::vector<ReplicaTable>& tables, unsigned threads,
                 const std::optional<Levels>& levels)
    : format_(format), tables_(1), shelves_(1), sizes_(tables.size() + 1), shown_(tables.size() + 1), threads_(threads) {
  if (levels) heat_.budget = levels->hot_bytes;
  std::map<size_t, ReplicaShelf*> kinds;
  for (const ReplicaTable& table : tables) {
    ReplicaShelf*& shelf = kinds[table.dim];
    if (!shelf) shelf = owned_.emplace_back(std::make_unique<ReplicaShelf>(format, table.dim, levels)).get();
    tables_.push_back(table);
    shelves_.push_back(shelf);
  }
}

Status Replica::open() {
  for (const auto& shelf : owned_) {
    if (Status status = shelf->open(); !status.ok()) return status;
  }
  return {};
}

Status Replica::Reading::gather(std::span<const Slot> slots, int64_t* missing) {
  const Replica& all = replica_;
  const uint8_t next = mark_of(version_ + 1);
  size_t lookups = 0;
  for (const Slot& slot : slots) lookups += slot.count;
  Found sum;
  std::mutex summing;
  const auto work = [&](unsigned me, unsigned threads) {
    Found mine;
    size_t before = stay_.lookups();
    for (size_t i = 0; i < slots.size() && mine.status.ok(); ++i) {
      const Slot& slot = slots[i];
      const auto [first, last] = part(slot.samples, me, threads);
      Found here = larix::gather(all.index_, *all.shelves_[slot.table], all.disk_, all.format_, all.tables_[slot.table],
                                 next, slot, first, last, before);
      if (missing && here.missing) {
        std::atomic_ref(missing[i]).fetch_add(static_cast<int64_t>(here.missing), std::memory_order_relaxed);
      }
      mine.missing += here.missing;
      mine.cold += here.cold;
      mine.status = std::move(here.status);
      before += slot.count;
    }
    const std::lock_guard lock(summing);  // between the threads of this call alone
    sum.missing += mine.missing;
    sum.cold += mine.cold;
    if (sum.status.ok()) sum.status = std::move(mine.status);
  };
  Threads& team = all.threads_;
  if (lookups < kWorthThreads || team.count() == 1 || all.taken_.test_and_set(std::memory_order_acquire)) {
    work(0, 1);
  } else {
    struct Release {
      std::atomic_flag& taken;
      ~Release() { taken.clear(std::memory_order_release); }
    } const release{all.taken_};
    team.run([&](unsigned me) { work(me, team.count()); });
  }
  stay_.count(lookups, sum.missing, sum.cold);
  return sum.status;
}

std::vector<int64_t> Replica::keys(uint32_t table) const {
  const Epochs::Stay stay(epochs_);
  const uint8_t next = mark_of(version_.load(std::memory_order_acquire) + 1);
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(rows(table)));
  index_.each([&](const Cell& cell, Entry entry) {
    if (entry.seen(table, next)) ids.push_back(cell.load_id());
  });
  return ids;
}

ReplicaCounts Replica::counts() const {
  ReplicaCounts counts;
  for (const std::atomic<int64_t>& rows : shown_) counts.rows += rows.load(std::memory_order_relaxed);
  counts.shared = image_.sealed() ? static_cast<int64_t>(image_.bytes()) : 0;
  counts.bytes = static_cast<int64_t>(image_.bytes()) + static_cast<int64_t>(index_.bytes());
  for (const auto& shelf : owned_) {
    counts.bytes += static_cast<int64_t>(shelf->bytes());
    counts.disk_bytes += static_cast<int64_t>(shelf->disk_bytes());
  }
  counts.hot_rows = hot_rows_.load(std::memory_order_relaxed);
  counts.hot_bytes = hot_bytes_.load(std::memory_order_relaxed);
  counts.promoted = promoted_.load(std::memory_order_relaxed);
  counts.demoted = demoted_.load(std::memory_order_relaxed);
  epochs_.each([&](const Epochs::Slot& slot) {
    counts.lookups += static_cast<int64_t>(slot.lookups.load(std::memory_order_relaxed));
    counts.missing += static_cast<int64_t>(slot.missing.load(std::memory_order_relaxed));
    counts.cold += static_cast<int64_t>(slot.cold.load(std::memory_order_relaxed));
  });
  return counts;
}

// Makes room to note so many changes more, or gives up to list them.
void Replica::prepare(size_t changes) {
  size_t rows = 0;
  for (const int64_t size : sizes_) rows += static_cast<size_t>(size);
  many_ = many_ || changes_.size() + 2 * changes > std::max(kFewChanges, rows / 16);
  if (many_) {
    changes_ = {};
  } else if (changes_.capacity() < changes_.size() + 2 * changes) {
    changes_.reserve(std::max(2 * changes_.capacity(), changes_.size() + 2 * changes));
  }
}

// Of what was written anew, enough waits to be used again to make room for it.
void Replica::recycle() {
  if (index_.retired_bytes() <= std::max(kFewBytes, index_.bytes() / 16)) return;
  epochs_.wait();
  index_.recycle();
}

void Replica::warm(uint32_t table, uint32_t row, int64_t rows) {
  const ReplicaShelf& shelf = *shelves_[table];
  if (!shelf.leveled() || ReplicaShelf::is_cold(row)) return;
  heat_.rows_made += rows;
  heat_.made += rows * static_cast<int64_t>(shelf.hot_stride());
}

// The row that readers see now, or 0.
uint32_t Replica::shown(uint64_t hash, uint32_t table, int64_t id) const {
  const ReplicaIndex::View& view = index_.view(hash);
  return view.find(view.home(hash), table, id, next());
}

// The next version shows ``row``, in place of what the cell ``there`` says if there is one.
void Replica::show(uint64_t hash, uint32_t table, int64_t id, Cell* there, uint32_t row) {
  if (there) {
    const Entry old = there->load();
    note(hash, old.row(), table);
    there->store(old.dying(next()));
    warm(table, old.row(), -1);
  } else {
    ++sizes_[table];
  }
  note(hash, row, table);
  index_.insert(hash, id, Entry::of(row, table, next()));
  warm(table, row, 1);
}

Status Replica::put(uint32_t table, std::span<const int64_t> ids, const float* weights, const uint16_t* heat) {
  prepare(ids.size());
  const uint8_t mark = next();
  const size_t dim = tables_[table].dim;
  ReplicaShelf& shelf = *shelves_[table];
  std::array<uint64_t, kBatch> hashes;
  for (size_t start = 0; start < ids.size(); start += kBatch) {
    const size_t count = std::min(kBatch, ids.size() - start);
    for (size_t i = 0; i < count; ++i) {
      hashes[i] = place_hash(ids[start + i], table);
      const ReplicaIndex::View& view = index_.view(hashes[i]);
      __builtin_prefetch(&view.bucket(view.home(hashes[i])), 1);
    }
    for (size_t i = 0; i < count; ++i) {
      const uint64_t hash = hashes[i];
      const int64_t id = ids[start + i];
      const float* const given = weights + (start + i) * dim;
      index_.make_room(hash);
      Cell* const there = index_.living(hash, table, id);
      const Entry old = there ? there->load() : Entry{};
      if (old.born() == mark) {  // put before in this version: nobody has seen it
        if (Status status = shelf.write(old.row(), given); !status.ok()) return status;
        continue;
      }
      bool hot = true;
      uint8_t uses = 0;
      if (shelf.leveled()) {
        if (const uint32_t former = there ? old.row() : shown(hash, table, id)) {
          hot = !ReplicaShelf::is_cold(former);
          uses = shelf.uses_of(former).load(std::memory_order_relaxed);
        } else {
          const uint16_t wanted = heat ? heat[start + i] : kHot;
          hot = wanted >= kHot && heat_.room(shelf.hot_stride());
          uses = static_cast<uint8_t>(wanted);
          if (hot) heat_.added += static_cast<int64_t>(shelf.hot_stride());
        }
      }
      const uint32_t row = shelf.take(hot, uses);
      if (Status status = shelf.write(row, given); !status.ok()) {
        shelf.give_back(row);
        return status;
      }
      show(hash, table, id, there, row);
    }
    recycle();
  }
  return {};
}

int64_t Replica::remove(uint32_t table, std::span<const int64_t> ids) {
  prepare(ids.size());
  const uint8_t mark = next();
  int64_t removed = 0;
  for (const int64_t id : ids) {
    const uint64_t hash = place_hash(id, table);
    Cell* const there = index_.living(hash, table, id);
    if (!there) continue;
    const Entry old = there->load();
    if (old.born() != mark) note(hash, old.row(), table);
    there->store(old.dying(mark));
    warm(table, old.row(), -1);
    ++removed;
  }
  sizes_[table] -= removed;
  return removed;
}

void Replica::clear() {
  index_.own_all();
  many_ = true;
  changes_ = {};
  const uint8_t mark = next();
  index_.each([mark](Cell& cell, Entry entry) {
    if (entry.dead() == 0) cell.store(entry.dying(mark));
  });
  std::fill(sizes_.begin(), sizes_.end(), 0);
  heat_.made = heat_.rows_made = 0;
}

Status Replica::publish() {
  for (const auto& shelf : owned_) {
    if (Status status = shelf->flush(); !status.ok()) return status;
  }
  const uint64_t version = version_.load(std::memory_order_relaxed) + 1;
  for (size_t table = 0; table < sizes_.size(); ++table) shown_[table].store(sizes_[table], std::memory_order_relaxed);
  version_.store(version, std::memory_order_release);
  epochs_.wait();  // from here on nobody reads a row that is dead
  settle(true, mark_of(version));
  heat_.shown = heat_.made;
  heat_.rows_shown = heat_.rows_made;
  heat_.added = 0;
  hot_bytes_.store(heat_.shown, std::memory_order_relaxed);
  hot_rows_.store(heat_.rows_shown, std::memory_order_relaxed);
  promoted_.fetch_add(std::exchange(promoting_, 0), std::memory_order_relaxed);
  demoted_.fetch_add(std::exchange(demoting_, 0), std::memory_order_relaxed);
  return {};
}

void Replica::abandon() {
  for (size_t table = 0; table < sizes_.size(); ++table) sizes_[table] = shown_[table].load(std::memory_order_relaxed);
  settle(false, next());
  heat_.made = heat_.shown;
  heat_.rows_made = heat_.rows_shown;
  heat_.added = promoting_ = demoting_ = 0;
}

void Replica::settle(bool published, uint8_t mark) {
  for (const Change& change : changes_) {
    Cell& cell = index_.holding(change.hash, change.table, change.row);
    settle(published, mark, change.hash, cell, cell.load());
  }
  if (many_) {
    index_.each([&](Cell& cell, Entry entry) {
      if (entry.born() == mark || entry.dead() == mark) {
        settle(published, mark, place_hash(cell.id, entry.table()), cell, entry);
      }
    });
  }
  changes_.clear();
  many_ = false;
  epochs_.wait();  // from here on nobody has met a cell before it was erased
  index_.recycle();
}

// A version that is published keeps what was born and drops what is dead; one that is abandoned, the other way about. The
// rows dropped are those that no reader sees: they may be written again at once.
void Replica::settle(bool published, uint8_t mark, uint64_t hash, Cell& cell, Entry entry) {
  if ((published ? entry.dead() : entry.born()) == mark) {
    shelves_[entry.table()]->give_back(entry.row());
    index_.erase(hash, cell);
  } else {
    cell.store(published ? entry.settled() : entry.alive());
  }
}

}  // namespace larix
