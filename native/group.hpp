// Tables of equal dim, precision and optimizer live together: one index, one set of slabs, one pass for all their slots.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "admit.hpp"
#include "birth.hpp"
#include "index.hpp"
#include "moves.hpp"
#include "optimizer.hpp"
#include "policy.hpp"
#include "precision.hpp"
#include "rows.hpp"
#include "slot.hpp"
#include "snapshot.hpp"
#include "track.hpp"

namespace larix {

// Where a store stands: the same for all its groups.
struct Clock {
  uint32_t sequence = 1;           // of changes: raised by a cut
  uint32_t now = 0;                // of the user, or the number of training lookups
  bool ticking = true;             // whether ``now`` counts lookups
  uint64_t steps = 0;              // calls that applied gradients
  uint64_t calls = 0;              // training lookups
  uint64_t turns = 0;              // of those that hold rows: training lookups and puts
  unsigned lag = 0;                // turns that come between a training lookup and its gradients, the most of late
  std::atomic<bool> open = false;  // whether anything happened in this sequence number
  bool tracked = false;            // whether it is noted what changes
  uint32_t watched = 0;            // a snapshot that is being taken wants rows that changed up to here, and no later
};

struct Group {
  // ``tables``: of the group. ``policies``: by table, of all the store's tables, as ``nothing``.
  Group(size_t tables, size_t dim, Precision precision, const Optimizer& optimizer, Clock& clock, std::span<const Policy> policies,
        Ledger& ledger)
      : dim(dim),
        precision(precision),
        optimizer(optimizer),
        clock(clock),
        policies(policies),
        index(tables),
        rows(weight_bytes(precision, dim) + optimizer.state(dim) * sizeof(float), ledger, index),
        nothing(policies.size()) {}

  size_t state() const { return optimizer.state(dim); }

  // What follows a row's header: weights in the group's precision, then state in float32.
  static char* weights_of(char* row) { return row + sizeof(Header); }
  static const char* weights_of(const char* row) { return row + sizeof(Header); }
  LARIX_INLINE float* state_of(char* row) const {
    return reinterpret_cast<float*>(row + sizeof(Header) + weight_bytes(precision, dim));
  }
  const float* state_of(const char* row) const { return state_of(const_cast<char*>(row)); }
  void load_weights(const char* row, float* to) const { load(precision, weights_of(row), to, dim); }
  void store_weights(char* row, const float* from) const { store(precision, from, weights_of(row), dim); }
  void store_weights(char* row, const float* from, const Draws& draws) const {
    store(precision, from, draws, weights_of(row), dim);
  }

  // The row of (table, id), or kNoRow.
  uint32_t find(uint64_t hash, uint32_t table, int64_t id) const {
    return index.shard(hash, table).find(Index::tag_of(hash), [&](uint32_t row) { return holds(row, table, id); });
  }
  bool holds(uint32_t row, uint32_t table, int64_t id) const {
    const Header& header = rows.header(row);
    return (header.id == id) & (header.table == table);
  }

  // Whether the row that a handle was of is still where it was.
  bool alive(Handle handle) const {
    const Header& header = rows.header(row_of(handle));
    return header.generation == generation_of(handle) && header.table != 0;
  }

  // To be called by the row's one writer before it changes anything in a row, its key included.
  LARIX_INLINE void touch(uint32_t row, Header& header) {
    if (header.changed != clock.sequence) first_touch(row, header);
  }

  // Notes that rows are being worked on: their gradients may be on the way, so they are not evicted for some turns.
  void hold(std::span<const Handle> handles) const {
    const auto now = static_cast<uint8_t>(clock.turns);
    for (const Handle handle : handles) {
      if (has_row(handle)) rows.stamp(row_of(handle)).store(now, std::memory_order_relaxed);
    }
  }
  unsigned since_held(uint32_t row) const {
    return static_cast<uint8_t>(clock.turns - rows.stamp(row).load(std::memory_order_relaxed));
  }

  // Takes away a row that is there. To be called by the shard's one writer.
  void drop(uint64_t hash, uint32_t row) {
    leave(hash, row);
    const uint32_t table = rows.header(row).table;
    index.shard(hash, table).erase(Index::tag_of(hash), row);
    rows.give_back(index.shard_of(hash, table), row);
  }

  // Takes a row out of memory that lives on elsewhere.
  void send_away(uint64_t hash, uint32_t row);

  // Gives a row that was away a place in memory, in use already if ``any``; kNoRow if there is none. ``content``: the row
  // from ``changed`` in its header on. A snapshot that is being taken has its copy: it passes over the row from now on.
  uint32_t take_back(uint64_t hash, uint32_t table, int64_t id, const char* content, bool any);

  // Moves a row that is there to another place in memory that is in use already; false if there is none. Handles of it are
  // stale from then on.
  bool move(uint32_t row) {
    Header& from = rows.header(row);
    const uint64_t hash = place_hash(from.id, from.table);
    const uint32_t number = rows.take_any(index.shard_of(hash, from.table));
    if (number == kNoRow) return false;
    Header& to = rows.header(number);
    const uint16_t generation = to.generation;
    touch(row, from);  // a snapshot that has not come by keeps a copy, and passes over the row where it is now
    std::memcpy(&to, &from, rows.stride());
    to.generation = generation;
    rows.stamp(number).store(rows.stamp(row).load(std::memory_order_relaxed), std::memory_order_relaxed);
    if (clock.tracked) rows.mark(number, clock.sequence);
    if (moves) moves->note(handle_of(row, from.generation), handle_of(number, generation));
    index.shard(hash, from.table).renumber(Index::tag_of(hash), row, number);
    rows.give_back(index.shard_of(hash, from.table), row);
    return true;
  }

  // Notes that a row is born here.
  LARIX_INLINE void enter(uint32_t row, Header& header) {
    header.changed = clock.sequence;
    if (!clock.open.load(std::memory_order_relaxed)) clock.open.store(true, std::memory_order_relaxed);
    if (clock.tracked) rows.mark(row, clock.sequence);
  }

  // The first change of a row in a sequence number; a row that goes away.
  void first_touch(uint32_t row, Header& header);
  void leave(uint64_t hash, uint32_t row);
  void note_gone(uint64_t hash, uint32_t table, int64_t id);
  // Changes up to ``sequence`` need not be known any more.
  void forget(uint32_t sequence) {
    gone.forget(sequence);
    away.forget(sequence);
  }

  size_t dim;
  Precision precision;
  Optimizer optimizer;
  bool evicts = false;  // whether one of its tables has an eviction policy
  Clock& clock;
  std::span<const Policy> policies;
  Index index;
  Rows rows;
  std::vector<std::vector<char>> nothing;  // by table: what an id without a row reads, as the weights of a row
  Gone gone;
  Gone away;  // rows that were sent away, and when they had changed; not all of them are away still
  std::unique_ptr<Moves> moves;  // of a store whose rows come and go
  std::vector<Watch*> watches;  // of snapshots that are being taken

 private:
  void put_aside(uint32_t row, const Header& header);
};

// An id that was not found, to be inserted by the one thread that owns its shard.
struct Miss {
  uint64_t hash;
  int64_t id;
  Handle* handle;
  uint32_t table;
};

// Finds the rows of ids[0..count) as far as tags tell: handles get the number of a row that may be theirs, or kNoHandle,
// and misses are appended. Whether a row is theirs is left to verify or gather.
void find(const Group& group, uint32_t table, const int64_t* ids, size_t count, Handle* handles,
          std::vector<Miss>& misses);

// What tables have beside their groups, by table.
struct TableRules {
  std::vector<Birth> births;
  std::vector<Admission> admissions;
  std::vector<Policy> policies;
};

// What came of an insert.
struct Born {
  std::vector<int64_t> rows;   // by table
  int64_t refused = 0;         // misses that were not admitted
  std::vector<Miss> homeless;  // that were, and found no memory
  std::vector<float> wide;     // one row's weights as float32
};

// Notes that the ids may get rows, in the shards that ``me`` owns of ``threads``, before they do.
void expect_rows(Group& group, std::span<const Miss> misses, unsigned me, unsigned threads);

// Gives the missing ids of the shards that ``me`` owns of ``threads`` a row each, and their handles its number.
void give_rows(Group& group, const TableRules& rules, std::span<const Miss> misses, unsigned me, unsigned threads, Born& born);

// Gives one missing id, which is admitted, its row; of memory that is in use already if ``any``. Returns false if there is
// none.
bool give_row(Group& group, const TableRules& rules, const Miss& miss, bool any, Born& born);

// Completes handles that find or give_rows left: the row is that of the id, the generation is in. Appends misses.
void verify(const Group& group, uint32_t table, const int64_t* ids, size_t count, Handle* handles,
            std::vector<Miss>& misses);

// Verifies the handles of samples [first, last) of a slot and writes their vectors; those of ids without a row are as if
// the row were ``nothing``. ``asked``: their rows are on their way already.
void gather(const Group& group, const Slot& slot, size_t first, size_t last, std::vector<Miss>& misses, bool asked = false);

// Both for samples [first, last), rows being on their way while the next are found. With ``pause`` nothing is gathered any
// more once an id is missing. Returns the first sample that is to be gathered still.
size_t find_and_gather(const Group& group, const Slot& slot, size_t first, size_t last, bool pause,
                       std::vector<Miss>& misses);

// Writes a vector a sample, of the slot's width, side by side at ``vectors``, to where the slot's are.
void place(const Slot& slot, const float* vectors);

// Where a gradient lies: an address, whose lowest bit, which no float's or bfloat16's own has, tells that it is bfloat16.
class Grad {
 public:
  Grad() = default;
  LARIX_INLINE explicit Grad(const float* at) : at_(reinterpret_cast<const char*>(at)) {}
  LARIX_INLINE explicit Grad(const uint16_t* at) : at_(reinterpret_cast<const char*>(at) + 1) {}

  // Null if it is not these.
  LARIX_INLINE const uint16_t* halves() const {
    return reinterpret_cast<uintptr_t>(at_) & 1 ? reinterpret_cast<const uint16_t*>(at_ - 1) : nullptr;
  }
  // If it is no halves.
  LARIX_INLINE const float* floats() const { return reinterpret_cast<const float*>(at_); }

 private:
  const char* at_ = nullptr;
};

// One id's gradient: ``scale`` times the vector at ``grad``; what it adds to its row's score.
struct Occurrence {
  Handle handle;
  Grad grad;
  float scale;
  float gain;
};

// Which bin a row belongs to: rows of a bin lie side by side, and about as many occurrences come to each. So few that all
// that belongs to a bin stays in cache. Who shares a bin changes nothing in the result.
struct Binning {
  Binning(const Group& group, std::span<const Slot> slots);

  // A row may be gone, and its memory, too.
  LARIX_INLINE size_t of(Handle handle) const { return bin_[std::min<size_t>(row_of(handle) >> shift_, bin_.size() - 1)]; }

  size_t bins;

 private:
  static constexpr unsigned kBits = 12;  // of a row number, from its highest

  std::vector<uint16_t> bin_;
  unsigned shift_;
};

// Occurrences in order, apart by bin.
struct Bins {
  std::vector<Occurrence> occurrences;  // of bin 0, then of bin 1, ...
  std::vector<uint32_t> ends;
  int64_t lost = 0;  // ids that had no row
};

// Deals occurrences [first, last), counted over all slots, to bins. ``policies`` by table; ``clicks``: of each sample, or
// null.
void deal(std::span<const Slot> slots, std::span<const Policy> policies, const float* clicks, size_t first, size_t last,
          const Binning& binning, Bins& dealt);

// What one thread sums the gradients of a bin in; kept from call to call for its memory.
struct Sums {
  std::vector<uint32_t> places;
  std::vector<Handle> handles;
  std::vector<uint32_t> counts;
  std::vector<float> gains;
  std::vector<float> grads;
  std::vector<float> wide;  // one row's weights as float32
};

// Sums the gradients that the hands dealt to a bin by row, in order, and steps each row once. Returns how many ids had
// no row any more. A bin has one writer. ``births`` are by table: stochastic rounding goes by their keys.
int64_t apply(Group& group, std::span<const Birth> births, std::span<const Bins> hands, size_t bin, float rate,
              Sums& sums);

}  // namespace larix
