// One instant of all tables, copied while they change: a cursor walks the rows in slices, each under the store's lock for a
// moment; a row at or past the cursor that is about to change is put aside first, as it was. Knows nothing of files of
// tables or of Python.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cold.hpp"
#include "memory.hpp"
#include "stage.hpp"
#include "track.hpp"

namespace larix {

struct Group;
class Rows;
class Store;

// Rows as they were before a change, until the snapshot takes them: in memory up to a bound, beyond it in a file that has
// no name. Entries: group and length (4 bytes each), the row; those of kNoGroup mean nothing.
class Aside {
 public:
  static constexpr uint32_t kNoGroup = ~uint32_t{0};
  static constexpr unsigned kLanes = 32;

  // ``bytes``: that may be used; ``folder``: where the file is made when it is needed.
  Aside(size_t bytes, std::string folder);
  ~Aside();
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

  // From any thread of a call that holds the store's lock.
  void put(uint32_t group, const char* row, size_t length);

  // The next four with the store's lock held. How much of the half that is written to is full, from 0 to 1.
  double fill() const;
  // Returns all that is in memory, to be read without the lock before the next call of this.
  std::span<const char> take();
  // Why rows could not be put aside: an errno, or 0.
  int error() const { return error_; }
  size_t peak() const;  // bytes that were ever held in memory

  // Once nothing is put any more: reads what went to the file, a part a call; empty at the end.
  std::span<const char> read_back();

  size_t spilled() const { return spilled_; }  // bytes ever written to the file

 private:
  void spill(uint32_t group, const char* row, size_t length);
  bool flush();

  struct Half {
    Block block;
    std::atomic<size_t> end = 0;  // where the next chunk goes; past the block once it is full
    std::atomic<size_t> full;     // where the first chunk would have begun that did not fit
    size_t high = 0;              // the highest end, to the last time it was taken
  };

  // Where some of the threads write.
  struct alignas(64) Lane {
    std::atomic_flag busy;
    char* at = nullptr;
    char* end = nullptr;
  };

  bool reserve(Lane& lane, size_t size);
  static void finish(Lane& lane);

  size_t half_;   // bytes, as are the next two
  size_t part_;   // of the file that is written or read at a time
  size_t chunk_;  // that a lane takes of a half
  std::array<Lane, kLanes> lanes_;
  Half halves_[2];
  unsigned active_ = 0;
  std::string folder_;
  std::mutex spilling_;
  std::vector<char> buffer_;  // of what goes to the file next
  std::vector<char> back_;
  int file_ = -1;
  int error_ = 0;
  size_t spilled_ = 0;
  size_t read_ = 0;
  size_t longest_ = 0;  // entry that was spilled
};

// What a snapshot wants of one group: rows that changed up to ``upto`` and whose number is at least ``next``.
struct Watch {
  uint32_t upto;
  uint32_t group;
  uint64_t next;
  Aside* aside;
};

class Snapshot {
 public:
  struct Piece {
    uint32_t table = 0;  // 0: there is none
    Columns rows;
  };

  // Of the instant when it is made. ``memory``: bytes that copies may take; ``piece``: bytes of a piece, about. One thread
  // at a time may use it.
  Snapshot(Store& store, size_t memory, size_t piece, std::string folder);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  uint32_t sequence() const { return sequence_; }
  uint64_t steps() const { return steps_; }
  uint32_t now() const { return now_; }

  // Some rows of one table; without a table once all have been given. ``error``: an errno if rows could not be put aside,
  // or not read from the tier: then ``trouble`` says what it is.
  Piece next(int& error);
  const Status& trouble() const { return trouble_; }

  // Lets go all copies; nothing more is given.
  void close();

  size_t peak_bytes() const { return peak_; }  // of copies in memory
  size_t spilled_bytes() const { return spilled_; }  // that went to the file

 private:
  bool advance(int& error);
  bool look(int& error);
  void copy_slice(const Rows& rows, uint64_t& next, uint64_t end);
  void read_segment(int& error);
  void stage(const Group& group, const char* row);

  struct OnDisk {
    uint32_t group;
    Cold::Frozen segment;
  };

  Store& store_;
  size_t piece_;
  size_t most_staged_;
  size_t portion_;  // bytes copied or staged between two looks at how full all is
  std::unique_ptr<Aside> aside_;  // none: closed
  uint32_t sequence_;
  uint64_t steps_;
  uint32_t now_;
  std::vector<Watch> watches_;     // by group; where the cursor is
  std::vector<uint64_t> ends_;     // by group: how many rows had been given out
  size_t group_ = 0;               // that the cursor is in
  std::vector<char> slice_;
  std::span<const char> pending_;  // put aside, not staged yet
  std::optional<Stage> stage_;
  std::vector<OnDisk> on_disk_;    // what the tier held at the instant
  uint64_t page_ = 0;              // of the last of these that is to be read next
  std::vector<char> row_;          // one of its rows
  Status trouble_;
  uint64_t calls_ = 0;  // of the store when it was last looked at
  size_t put_aside_ = 0;
  size_t peak_ = 0;
  size_t spilled_ = 0;
};

}  // namespace larix
