// What a store keeps on disk: a Cold a group, whose records are rows as they lie in memory, and the way from one to the
// other and back. Under the store's lock, but for what says otherwise. Knows nothing of which rows should go.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cold.hpp"
#include "group.hpp"

namespace larix {

// Each key once; and whether a key is among keys that have gone through that.
void sort_unique(std::vector<ColdKey>& keys);
bool holds(const std::vector<ColdKey>& keys, const ColdKey& key);

class Tier {
 public:
  // ``groups`` must outlive it. Rows on disk are those of this object: what an earlier process left is removed.
  Tier(std::string folder, std::span<const std::unique_ptr<Group>> groups);
  ~Tier();
  Status open();

  // Takes the rows of keys that have none in memory from disk; they wait until they are placed, and must be, whatever
  // happens. ``keys`` may repeat.
  Status fetch(size_t group, std::vector<ColdKey> keys);
  size_t waiting(size_t group) const { return parts_[group]->keys.size(); }
  // Gives rows that wait a place in memory, in use already if ``any``, and holds them; false if some are left.
  bool place(size_t group, bool any);
  // Rows that wait go to disk again; returns whose they are.
  std::vector<ColdKey> put_back(size_t group, Status& status);

  // Writes rows to disk and takes them from memory; if it fails they stay.
  Status spill(size_t group, std::span<const uint32_t> rows);

  // Calls visit(i, row) for every key that is on disk, with the row as it would lie in memory.
  using Visit = std::function<void(size_t key, const char* row)>;
  Status read(size_t group, std::span<const ColdKey> keys, const Visit& visit);

  // The ids of a table.
  Status keys(size_t group, uint32_t table, std::vector<int64_t>& ids) const;

  // Takes rows away for good; found[i]: whether the key was on disk.
  Status erase(size_t group, std::span<const ColdKey> keys, uint8_t* found);

  // All rows of a group at this instant; see Cold. For its rows: what they would be in memory. Needs no lock.
  std::vector<Cold::Frozen> freeze(size_t group) const { return parts_[group]->cold.freeze(); }
  static void unpack(const RowView& view, char* row);

  // Does some compaction; whether there is more to do. What goes wrong is no harm yet, and kept for the counts.
  bool compact(size_t bytes);
  // Does as much as the rows spilled since are worth, unless a thread does it (``helped``) and keeps up.
  void pay(bool helped);
  // Does what of compaction may take long; needs no lock.
  void settle();
  const std::string& trouble() const { return trouble_; }

  ColdCounts counts() const;
  int64_t memory() const;

 private:
  struct Part {
    Part(const std::string& folder, Group& group, PageReader& reader);

    Group& group;
    Cold cold;
    size_t owed = 0;                  // bytes spilled since compaction was last paid for
    std::vector<ColdKey> keys;        // of rows that wait to be placed
    std::unique_ptr<char[]> records;  // theirs
  };

  // A record is the number of the row, and the row from the generation in its header on: its last handle, and its content.
  static constexpr size_t kFrom = offsetof(Header, generation);
  static constexpr size_t kContent = sizeof(uint32_t) + sizeof(uint16_t);
  static size_t record_bytes(const Group& group) { return sizeof(uint32_t) + group.rows.stride() - kFrom; }
  Status ours() const;

  std::string folder_;
  std::string trouble_;  // the last compaction that failed
  pid_t process_;
  std::unique_ptr<PageReader> reader_;
  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace larix
