// What serving holds: tables of encoded rows that any number of threads read while one writer brings them up to date.
// Knows nothing of Python.
//
// A reader's call sees one version of all tables, the newest when it began: whole deltas, never half of one, let alone
// half a row. It takes no lock and waits for nobody. What the writer changes belongs to the next version, which one store
// publishes; then the writer, not the reader, waits for calls under way to end, and uses again what was replaced. While a
// version is made, its changed rows exist twice: that, and a sixteenth of the index, is all the garbage there
// ever is. A row that goes from one level to the other changes like any other, so that in one version it is on one level.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "epochs.hpp"
#include "quantize.hpp"
#include "replica_image.hpp"
#include "replica_index.hpp"
#include "replica_shelf.hpp"
#include "row_file.hpp"
#include "slot.hpp"
#include "status.hpp"
#include "threads.hpp"

namespace larix {

struct ReplicaTable {
  size_t dim;
  float missing;  // what each weight reads as of an id without a row
};

struct ReplicaCounts {
  int64_t rows = 0;
  int64_t bytes = 0;
  int64_t shared = 0;  // of the bytes, those of an image
  int64_t lookups = 0;
  int64_t missing = 0;
  // Of levels, if there are two.
  int64_t hot_rows = 0;
  int64_t hot_bytes = 0;
  int64_t cold = 0;  // lookups
  int64_t promoted = 0;
  int64_t demoted = 0;
  int64_t disk_bytes = 0;
};

// What came of a gather: how many ids had no row, how many a cold one, and whether those could be read.
struct Found {
  size_t missing = 0;
  size_t cold = 0;
  Status status;
};

// Of a row: its uses, and more if it is hot.
constexpr uint16_t kHot = 256;

constexpr size_t kSampled = 13;  // of so many lookups of a row the use of one is noted

// Writes the vectors of samples [first, last) of a slot as a reader sees them before the version marked ``next``. ``before``:
// lookups that the reader has made. The caller has a stay.
Found gather(const ReplicaIndex& index, const ReplicaShelf& shelf, const PageReaders& disk, Format format,
             const ReplicaTable& table, uint8_t next, const Slot& slot, size_t first, size_t last, size_t before);

class Replica {
 public:
  // Tables are numbered from 1 in the given order. Large calls are shared among ``threads``, if no other call has them.
  Replica(Format format, const std::vector<ReplicaTable>& tables, unsigned threads, const std::optional<Levels>& levels = {});
  // Must have been called before anything else if there are levels.
  Status open();

  // ---- For readers, any number at once.

  // One version of all tables, the newest when it begins, for as long as it lives: so not for long, since the writer's
  // publish waits for it to end. Used by one thread at a time.
  class Reading {
   public:
    explicit Reading(const Replica& replica)
        : replica_(replica), stay_(replica.epochs_), version_(replica.version_.load(std::memory_order_acquire)) {}

    uint64_t version() const { return version_; }

    // Writes the vectors of all slots, which must be sound; their handles are not used. ``missing``: null, or zeros a slot,
    // to which its ids without a row are added. What cannot be read from disk spoils the call: vectors are anything then.
    Status gather(std::span<const Slot> slots, int64_t* missing = nullptr);

    // What each id's row is on and was used.
    void heat(uint32_t table, std::span<const int64_t> ids, uint16_t* heat) const;

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

  // Makes the rows what is given; of a repeated id the last counts. Rows stay on the level that they are shown on; a new one
  // is hot if there is room, unless ``heat`` is given and says otherwise. If it fails or throws, the version can but be
  // abandoned.
  Status put(uint32_t table, std::span<const int64_t> ids, const float* weights, const uint16_t* heat = nullptr);
  // Takes rows away; returns how many there were.
  int64_t remove(uint32_t table, std::span<const int64_t> ids);
  // Takes all rows of all tables away.
  void clear();
  // Alone in a version: moves about ``most`` rows at most that are used more than some that are hot to their level, and as many
  // of those back as it takes to make room. Adds to ``moved``.
  Status adapt(size_t most, size_t& moved);
  // Shows the next version, then waits for the readings of the one before. What fails shows nothing, and it is abandoned.
  Status publish();
  // Undoes what has been put and removed since the last publish.
  void abandon();

  // ---- In memory that other processes have as well; see Image. Of a replica without levels that nobody reads yet.

  // Says what is in an image, so that none is taken for another.
  using Stamp = std::array<uint64_t, 4>;

  // Moves all rows and their index, as they are shown, into an image. What is put from here on lies in memory of this
  // process, as does every chunk of the index from the first change to it on. If it fails, the replica shows what it did, in
  // memory that may be partly the image's but that nobody else can have.
  Status freeze(const Stamp& stamp, std::function<void()> between = [] {});
  // Puts all rows of an image into a replica that has had none; they are shown by publish. What fails changes nothing.
  Status adopt(int descriptor, const Stamp& stamp);
  // Of the image; meaningless without.
  int descriptor() const { return image_.descriptor(); }

 private:
  // How much room hot rows take, of all dims: in the version that is shown, and in the one that is being made.
  struct Heat {
    size_t budget = 0;
    int64_t shown = 0, made = 0;
    int64_t rows_shown = 0, rows_made = 0;
    int64_t added = 0;  // bytes by which the next version has more, whatever happens to rows that are shown

    bool room(size_t bytes) const { return shown + added + static_cast<int64_t>(bytes) <= static_cast<int64_t>(budget); }
  };

  struct Mover {  // a row that is to go to the other level
    uint64_t hash;
    int64_t id;
    uint32_t row;
    uint32_t table;
  };
  struct Plan;

  struct Change {  // a row that is born or dead in the version that is being made
    uint64_t hash;
    uint32_t row;
    uint32_t table;
  };

  struct Extents;
  struct Places;
  std::vector<uint64_t> identity(const Stamp& stamp) const;
  Places places(const Extents& extents, size_t header_words) const;

  // What the version that is being made is marked with.
  uint8_t next() const { return mark_of(version_.load(std::memory_order_relaxed) + 1); }
  void prepare(size_t changes);
  void recycle();
  void warm(uint32_t table, uint32_t row, int64_t rows);  // so many hot rows more
  uint32_t shown(uint64_t hash, uint32_t table, int64_t id) const;
  void show(uint64_t hash, uint32_t table, int64_t id, Cell* there, uint32_t row);
  Plan plan(size_t most) const;
  void look_for(const Plan& plan, std::vector<Mover>& up, std::vector<Mover>& down) const;
  Status move(const Mover& mover, const char* whole);
  void age();
  void note(uint64_t hash, uint32_t row, uint32_t table) {
    if (!many_) changes_.push_back({hash, row, table});
  }
  void settle(bool published, uint8_t mark);
  void settle(bool published, uint8_t mark, uint64_t hash, Cell& cell, Entry entry);

  Format format_;
  std::vector<ReplicaTable> tables_;    // by number, as are the next three
  std::vector<ReplicaShelf*> shelves_;  // tables of equal dim share one
  std::vector<int64_t> sizes_;        // as the writer has them
  std::vector<std::atomic<int64_t>> shown_;
  std::vector<std::unique_ptr<ReplicaShelf>> owned_;
  PageReaders disk_;
  Image image_;
  ReplicaIndex index_;
  Epochs epochs_;
  std::atomic<uint64_t> version_{0};

  std::vector<Change> changes_;
  bool many_ = false;  // changes are too many to be listed: the index is looked through for them

  Heat heat_;
  std::atomic<int64_t> hot_rows_{0}, hot_bytes_{0}, promoted_{0}, demoted_{0};
  int64_t promoting_ = 0, demoting_ = 0;  // in the version that is being made
  int64_t aged_ = 0;                      // lookups when counts of uses were halved last

  mutable Threads threads_;
  mutable std::atomic_flag taken_;  // the threads are
};

}  // namespace larix
