// What serving holds: tables of encoded rows that any number of threads read while one writer brings them up to date.
// Knows nothing of Python.
//
// A reader's call sees one version of all tables, the newest when it began: whole deltas, never half of one, let alone
// half a row. It takes no lock and waits for nobody. What the writer changes belongs to the next version, which one store
// publishes; then the writer, not the reader, waits for calls under way to end, and uses again what was replaced. While a
// version is made, its changed rows exist twice: that, and a sixteenth of the index, is all the garbage there
// ever is.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "epochs.hpp"
#include "quantize.hpp"
#include "replica_index.hpp"
#include "replica_rows.hpp"
#include "slot.hpp"
#include "threads.hpp"

namespace larix {

struct ReplicaTable {
  size_t dim;
  float missing;  // what each weight reads as of an id without a row
};

struct ReplicaCounts {
  int64_t rows = 0;
  int64_t bytes = 0;
  int64_t lookups = 0;
  int64_t missing = 0;
};

// Writes the vectors of samples [first, last) of a slot as a reader sees them before the version marked ``next``. Returns
// how many ids had no row. The caller has a stay.
size_t gather(const ReplicaIndex& index, const ReplicaRows& rows, Format format, const ReplicaTable& table, uint8_t next,
              const Slot& slot, size_t first, size_t last);

class Replica {
 public:
  // Tables are numbered from 1 in the given order. Large calls are shared among ``threads``, if no other call has them.
  Replica(Format format, const std::vector<ReplicaTable>& tables, unsigned threads);

  // ---- For readers, any number at once.

  // One version of all tables, the newest when it begins, for as long as it lives: so not for long, since the writer's
  // publish waits for it to end. Used by one thread at a time.
  class Reading {
   public:
    explicit Reading(const Replica& replica)
        : replica_(replica), stay_(replica.epochs_), version_(replica.version_.load(std::memory_order_acquire)) {}

    uint64_t version() const { return version_; }

    // Writes the vectors of all slots, which must be sound; their handles are not used. ``missing``: null, or zeros a slot,
    // to which its ids without a row are added.
    void gather(std::span<const Slot> slots, int64_t* missing = nullptr);

   private:
    const Replica& replica_;
    Epochs::Stay stay_;
    uint64_t version_;
  };

  int64_t rows(uint32_t table) const { return shown_[table].load(std::memory_order_relaxed); }
  std::vector<int64_t> keys(uint32_t table) const;
  ReplicaCounts counts() const;
  // The number of the newest version: 0 at first, one more with each publish.
  uint64_t version() const { return version_.load(std::memory_order_acquire); }

  // ---- For the writer, one at a time. Nothing is seen of it before publish.

  // Makes the rows what is given; of a repeated id the last counts. If it throws, the version can but be abandoned.
  void put(uint32_t table, std::span<const int64_t> ids, const float* weights);
  // Takes rows away; returns how many there were.
  int64_t remove(uint32_t table, std::span<const int64_t> ids);
  // Takes all rows of all tables away.
  void clear();
  // Shows the next version, then waits for the calls that read the one before.
  void publish();
  // Undoes what has been put and removed since the last publish.
  void abandon();

 private:
  struct Change {  // a row that is born or dead in the version that is being made
    uint64_t hash;
    uint32_t row;
    uint32_t table;
  };

  // What the version that is being made is marked with.
  uint8_t next() const { return mark_of(version_.load(std::memory_order_relaxed) + 1); }
  void prepare(size_t changes);
  void note(uint64_t hash, uint32_t row, uint32_t table) {
    if (!many_) changes_.push_back({hash, row, table});
  }
  void settle(bool published, uint8_t mark);
  void settle(bool published, uint8_t mark, uint64_t hash, Cell& cell, Entry entry);

  Format format_;
  std::vector<ReplicaTable> tables_;  // by number, as are the next three
  std::vector<ReplicaRows*> rows_;    // tables of equal dim share rows
  std::vector<int64_t> sizes_;        // as the writer has them
  std::vector<std::atomic<int64_t>> shown_;
  std::vector<std::unique_ptr<ReplicaRows>> owned_;
  ReplicaIndex index_;
  Epochs epochs_;
  std::atomic<uint64_t> version_{0};

  std::vector<Change> changes_;
  bool many_ = false;  // changes are too many to be listed: the index is looked through for them

  mutable Threads threads_;
  mutable std::atomic_flag taken_;  // the threads are
};

}  // namespace larix
