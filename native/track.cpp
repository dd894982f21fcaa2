#include "track.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

#include "store.hpp"

namespace larix {

namespace {

constexpr size_t kTask = 1 << 16;    // rows that a thread looks through at a time
constexpr size_t kFewestAway = 1 << 14;  // rows that were sent away and are listed
constexpr size_t kAhead = 8;         // blocks or rows asked for ahead of use

// Some rows of a group to be looked through, and those that changed as they were under the lock.
struct Task {
  size_t group;
  size_t first, last;
  std::vector<char> rows;
};

void ask_block(const Rows& rows, uint32_t first) {
  for (uint32_t row = first; row < first + Rows::kMarked; ++row) __builtin_prefetch(rows.at(row));
}

// Copies the rows that changed later than ``since``.
void collect(const Rows& rows, uint32_t since, Task& task) {
  std::vector<uint32_t> blocks, changed;
  for (size_t row = task.first; row < task.last; row += Rows::kMarked) {
    if (rows.marked(static_cast<uint32_t>(row)) > since) blocks.push_back(static_cast<uint32_t>(row));
  }
  for (size_t at = 0; at < blocks.size(); ++at) {
    if (at + kAhead < blocks.size()) ask_block(rows, blocks[at + kAhead]);
    for (uint32_t row = blocks[at]; row < blocks[at] + Rows::kMarked; ++row) {
      const Header& header = rows.header(row);
      if (header.table != 0 && header.changed > since) changed.push_back(row);
    }
  }
  const size_t stride = rows.stride();
  task.rows.resize(changed.size() * stride);
  for (size_t at = 0; at < changed.size(); ++at) {
    if (at + kAhead < changed.size()) rows.prefetch(changed[at + kAhead]);
    std::memcpy(task.rows.data() + at * stride, rows.at(changed[at]), stride);
  }
}

// Columns of raw rows, by rising id.
Columns columns(const Group& group, std::span<const char* const> rows) {
  struct Key {
    int64_t id;
    const char* row;
  };
  std::vector<Key> keys;
  keys.reserve(rows.size());
  for (const char* row : rows) keys.push_back({reinterpret_cast<const Header*>(row)->id, row});
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return a.id < b.id; });
  Columns all;
  all.reserve(group, rows.size());
  for (size_t at = 0; at < keys.size(); ++at) {
    if (at + kAhead < keys.size()) __builtin_prefetch(keys[at + kAhead].row);
    all.add(group, keys[at].row);
  }
  return all;
}

}  // namespace

void Columns::reserve(const Group& group, size_t rows) {
  ids.reserve(rows);
  weights.reserve(rows * group.dim);
  state.reserve(rows * group.state());
  seen.reserve(rows);
  score.reserve(rows);
}

void Columns::add(const Group& group, const char* row) {
  const auto& header = *reinterpret_cast<const Header*>(row);
  const float* values = group.state_of(row);
  ids.push_back(header.id);
  weights.resize(weights.size() + group.dim);
  group.load_weights(row, weights.data() + weights.size() - group.dim);
  state.insert(state.end(), values, values + group.state());
  seen.push_back(header.seen);
  score.push_back(header.score);
}

void Group::first_touch(uint32_t row, Header& header) {
  if (header.changed <= clock.watched) put_aside(row, header);
  header.changed = clock.sequence;
  if (!clock.open.load(std::memory_order_relaxed)) clock.open.store(true, std::memory_order_relaxed);  // as when rows move
  if (clock.tracked) rows.mark(row, clock.sequence);
}

void Group::leave(uint64_t hash, uint32_t row) {
  const Header& header = rows.header(row);
  if (header.changed <= clock.watched) put_aside(row, header);
  note_gone(hash, header.table, header.id);
}

void Group::note_gone(uint64_t hash, uint32_t table, int64_t id) {
  clock.open.store(true, std::memory_order_relaxed);
  if (clock.tracked) gone.add(index.shard_of(hash, table), {id, table, clock.sequence});
}

uint32_t Group::take_back(uint64_t hash, uint32_t table, int64_t id, const char* content, bool any) {
  const uint32_t shard = index.shard_of(hash, table), row = any ? rows.take_any(shard) : rows.take(shard);
  if (row == kNoRow) return kNoRow;
  index.shard(hash, table).insert(Index::tag_of(hash), row);
  Header& header = rows.header(row);
  header.id = id;
  header.table = static_cast<uint16_t>(table);
  std::memcpy(&header.changed, content, rows.stride() - offsetof(Header, changed));
  if (header.changed <= clock.watched) {
    header.changed = clock.sequence;
    clock.open = true;
  }
  if (clock.tracked) rows.mark(row, clock.sequence);
  return row;
}

void Group::send_away(uint64_t hash, uint32_t row) {
  const Header& header = rows.header(row);
  if (header.changed <= clock.watched) put_aside(row, header);
  if (clock.tracked) away.add(index.shard_of(hash, header.table), {header.id, header.table, header.changed});
  index.shard(hash, header.table).erase(Index::tag_of(hash), row);
  rows.give_back(index.shard_of(hash, header.table), row);
}

void Group::put_aside(uint32_t row, const Header& header) {
  if (header.table == 0) return;  // not born yet
  for (const Watch* watch : watches) {
    if (header.changed <= watch->upto && row >= watch->next) {
      watch->aside->put(watch->group, reinterpret_cast<const char*>(&header), rows.stride());
    }
  }
}

void Store::tick() {
  ++clock_.calls;
  ++clock_.turns;
  clock_.now += clock_.ticking;
  clock_.open = true;
}

uint32_t Store::end() {
  limit_gone();
  clock_.sequence += clock_.open;
  clock_.open = false;
  return clock_.sequence - 1;
}

uint32_t Store::cut() {
  const std::lock_guard lock(mutex_);
  const uint32_t ended = end();
  if (!clock_.tracked) kept_ = ended;
  clock_.tracked = true;
  return ended;
}

// Ids that are gone must not take more memory than four bytes a row, or a megabyte a group (less within a memory budget), and
// those of rows that were sent away not more than one for each row in memory: beyond that changes are known from the end of
// this sequence number only.
void Store::limit_gone() {
  const auto over = [this](const std::unique_ptr<Group>& group) {
    return group->gone.count() > room_->most_gone(*group) || group->away.count() > kFewestAway + group->rows.high();
  };
  if (std::none_of(groups_.begin(), groups_.end(), over)) return;
  kept_ = clock_.sequence;
  for (const auto& group : groups_) group->forget(kept_);
}

bool Store::forget(uint32_t upto) {
  const std::lock_guard lock(mutex_);
  if (upto >= clock_.sequence) return false;
  if (clock_.tracked && upto > kept_) {
    kept_ = upto;
    for (const auto& group : groups_) group->forget(upto);
  }
  return true;
}

bool Store::resume(uint32_t sequence, uint64_t steps, uint32_t now, bool tracked) {
  const std::lock_guard lock(mutex_);
  if (sequence < clock_.sequence - !clock_.open) return false;
  clock_.sequence = sequence + 1;
  clock_.steps = steps;
  clock_.now = now;
  clock_.open = false;
  clock_.tracked = tracked;
  kept_ = sequence;
  for (const auto& group : groups_) group->forget(sequence);
  return true;
}

Store::Times Store::times() {
  const std::lock_guard lock(mutex_);
  limit_gone();
  return {clock_.sequence, kept_, clock_.tracked, clock_.steps, clock_.now};
}

size_t Store::row_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& group : groups_) total += group->rows.high() * group->rows.stride();
  return total;
}

std::optional<Changes> Store::changes(uint32_t since, Status* disk) {
  std::vector<Task> tasks;
  Changes changes;
  {
    const std::lock_guard lock(mutex_);
    limit_gone();
    if (!clock_.tracked || since < kept_ || since >= clock_.sequence) return std::nullopt;
    changes.sequence = end();
    changes.steps = clock_.steps;
    changes.now = clock_.now;
    for (size_t group = 0; group < groups_.size(); ++group) {
      const size_t high = groups_[group]->rows.high();
      for (size_t first = 0; first < high; first += kTask) {
        tasks.push_back({group, first, std::min(first + kTask, high), {}});
      }
    }
    std::vector<std::vector<Gone::One>> gone(threads_.count());
    std::atomic<size_t> next = 0;
    threads_.run([&](unsigned me) {
      for (size_t at; (at = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();) {
        collect(groups_[tasks[at].group]->rows, since, tasks[at]);
      }
      for (const auto& group : groups_) {
        for (uint32_t shard = me; shard < Index::kShards; shard += threads_.count()) {
          for (const Gone::One& one : group->gone.of(shard)) {
            const bool back = group->find(place_hash(one.id, one.table), one.table, one.id) != kNoRow;
            if (one.sequence > since && !back) gone[me].push_back(one);
          }
        }
      }
    });
    for (size_t group = 0; tier_ && group < groups_.size(); ++group) {
      Task& away = tasks.emplace_back(Task{group, 0, 0, {}});
      if (Status status = collect_away(group, since, away.rows); !status.ok()) {
        if (disk) *disk = std::move(status);
        return std::nullopt;
      }
    }
    changes.tables.resize(sizes_.size());
    for (const std::vector<Gone::One>& some : gone) {
      for (const Gone::One& one : some) changes.tables[one.table].removed.push_back(one.id);
    }
  }
  std::vector<std::vector<const char*>> rows(changes.tables.size());
  for (const Task& task : tasks) {
    const size_t stride = groups_[task.group]->rows.stride();
    for (const char* row = task.rows.data(); row != task.rows.data() + task.rows.size(); row += stride) {
      rows[reinterpret_cast<const Header*>(row)->table].push_back(row);
    }
  }
  for (uint32_t table = 1; table < rows.size(); ++table) {
    changes.tables[table].rows = columns(group_of(table), rows[table]);
    std::vector<int64_t>& removed = changes.tables[table].removed;
    std::sort(removed.begin(), removed.end());
    removed.erase(std::unique(removed.begin(), removed.end()), removed.end());
    const std::vector<int64_t>& there = changes.tables[table].rows.ids;  // on disk again, maybe
    std::erase_if(removed, [&](int64_t id) { return std::binary_search(there.begin(), there.end(), id); });
  }
  return changes;
}

}  // namespace larix
