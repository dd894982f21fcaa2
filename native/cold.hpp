// The rows of a group that are beyond its memory: in segment files in a folder, with a fence a page and a few bits a row in memory.
//
// One caller at a time, but for what says otherwise. A folder is the scratch of one running process: what has been taken is remembered in memory
// only, so what a process leaves that has died is of no use, and goes when the next takes the folder. Segments never change;
// whoever needs them longer may keep them open (freeze) or link them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "file.hpp"
#include "merge.hpp"
#include "pages.hpp"
#include "segment.hpp"
#include "status.hpp"

namespace larix {

struct ColdCounts {
  int64_t rows = 0;         // alive on disk
  int64_t bytes = 0;        // on disk, stale rows included
  int64_t segments = 0;
  int64_t memory = 0;       // of the process, for rows on disk
  int64_t spilled = 0;      // rows ever put
  int64_t taken = 0;        // rows ever taken
  int64_t pages_read = 0;   // for keys asked for
  int64_t pages_vain = 0;   // of these, pages that held none of the keys
  int64_t compacted = 0;    // bytes written by compaction

  ColdCounts& operator+=(const ColdCounts& other);
};

class Cold {
 public:
  static constexpr const char* kLock = "lock";  // a file, locked by whom the folder belongs to

  // ``reader`` must outlive it; several may share one.
  Cold(std::string folder, size_t record_bytes, PageReader& reader);
  ~Cold();

  // Makes the folder if it is not there, and takes it for this process alone. Segments that one left that has died are removed;
  // its own go with it.
  Status open();

  // Spills rows, which must not be on disk: those that may be are taken or erased first. (If one is, the newer version is
  // what is read, and both count.) Of a repeated key the last record counts. What fails leaves everything as it was.
  // Nothing is synced: until a snapshot is made rows on disk are as mortal as those in memory.
  Status put(std::span<const ColdKey> keys, const char* records);

  // Copies the records [n, record_bytes] of the keys that are there, and says which are; the others' bytes are left alone.
  Status read(std::span<const ColdKey> keys, char* records, uint8_t* found);

  // The same, and the rows are no longer on disk. What fails takes nothing.
  Status take(std::span<const ColdKey> keys, char* records, uint8_t* found);

  // Rows are no longer on disk. found[i]: whether the key was.
  Status erase(std::span<const ColdKey> keys, uint8_t* found);

  // Does about ``bytes`` bytes of compaction, if there is any to do; ``more`` says whether there is. A merge that fails is
  // given up until the next spill, and its inputs stay as they are.
  Status compact(size_t bytes, bool& more);

  // What of compaction may take long: syncs and names what has been written, closes what is no longer needed. May be
  // called beside anything else; a compact that finds it undone does it.
  Status settle();

  // Makes all segments last: for a snapshot that links them.
  Status sync() const;

  // All living rows at one instant; costs one bit a row, and files stay on disk as long as it lives.
  struct Frozen {
    std::shared_ptr<const Segment> segment;
    std::vector<uint64_t> dead;
  };
  using Visit = std::function<void(const RowView&)>;
  std::vector<Frozen> freeze() const;

  // Visits the living rows of ``pages`` pages from ``first`` on.
  static Status walk(const Frozen& frozen, uint64_t first, uint64_t pages, const Visit& visit);

  // Visits all living rows, segment by segment, the oldest first.
  Status each(const Visit& visit) const;

  ColdCounts counts() const;
  int64_t rows() const;  // alive on disk
  size_t segments() const { return segments_.size(); }

  // How far compaction is behind, 0 to 4: for every half more segments than should be, or as many more holes as rows, one.
  unsigned behind() const;
  size_t memory() const;
  size_t record_bytes() const { return layout_.record_bytes; }

 private:
  // Neighbours in age, the oldest first, that are worth merging; none if nothing is.
  std::span<const std::shared_ptr<Segment>> worth_merging() const;
  Status search(std::span<const ColdKey> keys, char* records, uint8_t* found, bool take);
  Status step(size_t bytes);
  Status finish_merge();
  void drop_dead();
  void swap_merged();
  void retire(std::shared_ptr<Segment> segment);
  void give_up();
  std::string path_of(Ages ages) const;

  struct Hit {
    Segment* segment;
    uint32_t row;
  };

  std::string folder_;
  PageLayout layout_;
  PageReader& reader_;
  File lock_;
  std::vector<std::shared_ptr<Segment>> segments_;  // the oldest first
  std::mutex compacting_;  // one at a time compacts or settles
  std::unique_ptr<Merge> merge_;
  std::vector<std::shared_ptr<Segment>> retired_;   // files to remove and close, by settle
  size_t retired_memory_ = 0;
  std::vector<std::shared_ptr<Segment>> spoiled_;   // inputs of merges that failed since the last spill
  uint64_t last_age_ = 0;
  ColdCounts counts_;
};

}  // namespace larix
