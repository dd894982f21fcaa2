// The store: many tables in few groups, and the threads that work on them. Every call is whole and locked: calls from
// several threads are safe and come one after the other. Knows nothing of Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "cold.hpp"
#include "group.hpp"
#include "room.hpp"
#include "threads.hpp"

namespace larix {

struct GroupSpec {
  size_t dim;
  Precision precision;
  Optimizer optimizer;
};

struct TableSpec {
  size_t group;
  Birth birth;
  Admission admission = {};
  Policy policy = {};
  float nothing = 0.0f;  // every weight of an id without a row
};

// How much memory a store may take, and when it sees to that.
struct Budget {
  int64_t bytes = 0;        // of rows, index and sketches; 0: no limit
  bool background = false;  // on a thread of its own; else within calls
};

struct Counts {
  int64_t rows = 0;
  int64_t bytes = 0;
  int64_t lookups = 0;
  int64_t inserted = 0;
  int64_t missing = 0;
  int64_t refused = 0;
  int64_t lost = 0;
  int64_t evicted = 0;
};

class Tier;

// ``disk`` of the calls below is told what the disk refused, for a store with a tier: what was done until then stays, and no
// row is lost.
class Store {
 public:
  // Tables are numbered from 1 in the given order. Results do not depend on ``threads``.
  Store(const std::vector<GroupSpec>& groups, std::vector<TableSpec> tables, unsigned threads, Budget budget = {});

  ~Store();

  // From now on rows that go for want of memory go to disk, in ``folder``, and come back when they are asked for.
  Status open_tier(const std::string& folder);

  // Rows of a table go to disk now, of as many of the ids as have one in memory; returns how many.
  int64_t spill(uint32_t table, std::span<const int64_t> ids, Status* disk);

  // Of the tier, with why its compaction failed last, if it did.
  std::pair<ColdCounts, std::string> cold_counts() const;

  // From now on calls run on the threads of ``team``, or on the store's own if it is null; see Threads::borrow.
  void borrow(Team team);

  // Finds (and if ``insert`` makes) the rows of all slots and writes their vectors and handles. Slots must be sound.
  // Returns how many bytes are short: for rows of tables that nothing is evicted from. They have no row then.
  int64_t gather(std::span<const Slot> slots, bool insert, Status* disk = nullptr);

  // Sums the gradients of all slots by row and steps each row once. ``clicks``: of each sample, or null.
  void apply(std::span<const Slot> slots, double lr_scale, const float* clicks, Status* disk = nullptr);

  // The same for one table's ids that have no handles yet; ids without a row count as lost.
  void update(Slot slot, double lr_scale, const float* clicks, Status* disk = nullptr);

  // Training lookups count the clock up until it is set.
  uint32_t clock() const;
  void set_clock(uint32_t now);

  // How many calls of apply and update there were: what schedules go by. A store that goes on from a save is told.
  uint64_t steps() const;
  void set_steps(uint64_t steps);

  int64_t rows(uint32_t table) const;
  std::vector<int64_t> keys(uint32_t table, Status* disk = nullptr) const;

  // Copies weights [n, dim] and state [n, s] of the ids' rows (either may be null); zeros where there is none.
  void read(uint32_t table, std::span<const int64_t> ids, float* weights, float* state, Status* disk = nullptr) const;

  // Makes the rows what is given, born if need be; of a repeated id the last counts. ``seen``: null for now; ``score``:
  // null for what it was. Returns how many bytes are short: rows that find no memory are not there.
  int64_t put(uint32_t table, std::span<const int64_t> ids, const float* weights, const float* state,
              const uint32_t* seen = nullptr, const float* score = nullptr, Status* disk = nullptr);

  // Takes rows away; returns how many there were.
  int64_t remove(uint32_t table, std::span<const int64_t> ids, Status* disk = nullptr);

  Counts counts() const;

  // Ends the sequence number, if anything happened in it, and returns the last that has ended. The first call begins
  // tracking: changes are known since then.
  uint32_t cut();

  // Changes since the end of ``since``, at the instant that ends the sequence number; nothing if they are not known.
  std::optional<Changes> changes(uint32_t since, Status* disk = nullptr);

  // Lets go what only changes since before ``upto``, which has ended, need; false if it has not.
  bool forget(uint32_t upto);

  // Stands at the end of ``sequence`` from now on; false if rows have changed later than that.
  bool resume(uint32_t sequence, uint64_t steps, uint32_t now, bool tracked);

  struct Times {
    uint32_t sequence;
    uint32_t kept;  // changes are known since this one, if they are tracked
    bool tracked;
    uint64_t steps;
    uint32_t now;
  };
  Times times();

  // Of all rows ever given out, as they lie in memory.
  size_t row_bytes() const;
  // Bytes that a store of so many groups takes before its first row, sketches aside.
  static int64_t least_bytes(size_t groups, int64_t budget);

 private:
  friend class Snapshot;
  struct Scratch;

  Group& group_of(uint32_t table) { return *groups_[group_at(table)]; }
  const Group& group_of(uint32_t table) const { return *groups_[group_at(table)]; }
  size_t group_at(uint32_t table) const { return group_numbers_[table]; }

  enum class Births { none, may_follow, done };

  // Finds the rows of this thread's samples of a slot, unless births are done, and writes their vectors, unless births may
  // follow and must. Returns whether all ids have a row.
  bool gather_part(const Slot& slot, unsigned me, unsigned threads, Births births);
  // Finds, bears and gathers the rows of a slot; what finds no memory stays a miss.
  void gather_and_bear(const Slot& slot, std::vector<Miss>& misses);
  // Counts the misses of tables that admit by count, all of them before any is admitted.
  void count_share(unsigned me, unsigned threads);
  void age_sketches();
  // Finds memory for rows that were born without: evicts others, or refuses. ``must``: nobody may be refused. Returns how
  // many bytes are short.
  int64_t house(std::span<const Slot> slots, bool must);
  // Notes how many turns came between the training lookup of the slots and now.
  void note_lag(std::span<const Slot> slots);
  // Has rows free for the calls to come.
  void look_ahead();
  // The rows of the ids, with generation; misses are left to the caller.
  std::vector<Handle> handles_of(uint32_t table, std::span<const int64_t> ids, std::vector<Miss>& misses) const;
  void insert_share(unsigned me, unsigned threads);
  int64_t total_misses() const;
  void clear_misses();
  void count_births();
  struct Applied {
    int64_t stepped = 0;  // ids whose row was there
    int64_t lost = 0;     // whose row was not
  };
  Applied apply_found(std::span<const Slot> slots, double lr_scale, const float* clicks);
  void run(std::span<const Slot> slots, const std::function<void(unsigned, unsigned)>& work);
  uint32_t end();
  void tick();
  void limit_gone();
  void make_background();

  // ---- with a tier (store_tier.cpp)
  using Keys = std::vector<std::vector<ColdKey>>;  // by group
  // Brings back rows of keys that are on disk; returns how many. Rows that the slots have handles of stay where they are.
  // Adds bytes that are short.
  size_t recall(Keys keys, std::span<const Slot> held, int64_t& short_of, Status& status);
  // The same for all misses of this call, which then are those that are not on disk either.
  size_t recall_missed(std::span<const Slot> slots, int64_t& short_of, Status& status);
  // The same for one table's ids; that there is no room is an error.
  void recall_ids(uint32_t table, std::span<const int64_t> ids, std::vector<Handle>& handles, std::vector<Miss>& misses,
                  Status& status);
  // Steps the rows that have been away or moved since they were looked up; returns how many ids that were.
  int64_t apply_late(std::span<const Slot> slots, double lr_scale, const float* clicks, Status& status);
  // Appends rows of a group that changed later than ``since`` and are on disk now.
  Status collect_away(size_t group, uint32_t since, std::vector<char>& rows);
  // Takes rows away that are on disk; returns how many.
  int64_t remove_away(uint32_t table, std::span<const int64_t> ids, Status& status);
  // At the end of a call: compaction is paid for, or has a thread that keeps up.
  void mind_tier();
  // The ledger knows what memory the tier takes, and rows go if that is too much: whoever had the tier take more calls this
  // before others may look, for a thread that was to do it later may get no core.
  void charge_tier();

  // What one thread keeps from call to call.
  struct Scratch {
    std::vector<std::vector<Miss>> misses;  // by group
    std::vector<const Slot*> late;          // slots whose rows are not all born yet
    Born born;
    std::vector<uint64_t> counted;          // by table: misses that a sketch counted
    Sums sums;
    int64_t lost = 0;
    int64_t dealt = 0;  // ids, lost ones too
  };

  Clock clock_;
  uint32_t kept_ = 0;
  uint64_t calls_ = 0;  // by which background work sees whether anyone else is at work
  Ledger ledger_;
  TableRules rules_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<uint32_t> group_numbers_;  // by table, as is the next
  std::vector<int64_t> sizes_;
  std::vector<size_t> newborn_;   // rows born in the last call, or come back, by group
  std::vector<size_t> returned_;  // come back in this one
  bool counts_misses_ = false;   // whether a table admits by count
  std::unique_ptr<Room> room_;
  std::vector<Scratch> scratch_;
  std::vector<std::vector<Bins>> dealt_;  // by group and thread
  Threads threads_;
  Counts counts_;
  bool wants_background_;
  std::unique_ptr<Tier> tier_;
  Keys homeless_;  // rows that a recall found no room for
  int64_t charged_ = 0;  // memory of the tier that the ledger knows of
  mutable std::mutex mutex_;
  std::unique_ptr<Background> background_;  // the last: it ends before the rest does
};

}  // namespace larix
