// Finds rows that are worth least, and takes them away: thresholds from a sample, then a hand that goes round over all
// row numbers. Works in slices, so that nobody waits long; what is done in a call is a function of the calls before it.
//
// Tables of equal policy are one pool: a row of it goes if its priority is below the threshold, a quantile of a random
// sample of the pool. Rows of other pools have a threshold of their own, at the same quantile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "group.hpp"
#include "status.hpp"

namespace larix {

class Tier;

class Sweep {
 public:
  // ``groups`` and ``rules`` must outlive it. ``sizes`` counts rows by table, and is kept up to date.
  Sweep(std::span<const std::unique_ptr<Group>> groups, const TableRules& rules, const Clock& clock,
        std::vector<int64_t>& sizes);

  // From now on rows that go for want of memory go there; it must outlive the sweep.
  void send_to(Tier* tier) { tier_ = tier; }

  // What the tier refused since this was last asked.
  Status trouble() { return std::exchange(trouble_, {}); }

  // Whether rows could ever be evicted, and whether some are when their time is over.
  bool any() const { return any_; }
  bool timed() const { return timed_; }

  // Looks at ``rows`` rows, or fewer once ``wanted`` bytes have come free. Rows whose time is over always go, others if
  // wanted is not 0; none that is held, unless by force: then none that this call holds, if rows go to disk. Returns bytes
  // freed.
  size_t slice(size_t rows, size_t wanted, bool force = false);

  // Before slices that must free ``wanted`` bytes in all: as many rows are below the thresholds.
  void hurry(size_t wanted);

  // All rows have been looked at since the last one went, at the highest threshold: there is nothing to evict.
  bool exhausted() const { return share_ >= 1.0 && idle_ > total(); }
  void restart();

  int64_t evicted() const { return evicted_; }

 private:
  static constexpr double kShare = 1.0 / 16;  // of a pool that is below its threshold
  static constexpr size_t kSample = 2048;

  struct Victim {
    uint64_t hash;
    uint32_t row;
  };

  size_t total() const;  // row numbers of all groups that have a policy
  void set_thresholds();
  void sample(size_t group, uint32_t row);
  bool goes(const Header& header, bool wanted) const;
  bool held(const Group& group, uint32_t row, bool force) const;
  size_t drop(size_t group, std::span<const Victim> victims);
  // Notes rows of the hand's group that are to go to disk, and once they are enough sends them there. Returns bytes freed.
  size_t gather(std::span<const Victim> victims, size_t wanted, bool force);
  size_t spill(bool force);

  std::span<const std::unique_ptr<Group>> groups_;
  const TableRules& rules_;
  const Clock& clock_;
  std::vector<int64_t>& sizes_;
  std::vector<bool> swept_;  // by group: whether a table of it has a policy
  bool any_ = false;
  bool timed_ = false;
  struct Threshold {
    double priority;
    uint64_t even;  // of rows of just this priority, those go whose draw of 32 bits is below
  };

  std::vector<std::vector<double>> samples_;  // by pool, as thresholds
  std::vector<Threshold> thresholds_;
  double share_ = kShare;
  size_t fresh_ = 0;  // rows to look at until thresholds are set anew
  size_t idle_ = 0;   // rows looked at since the last one went
  size_t group_ = 0;  // the hand
  size_t row_ = 0;
  uint64_t draws_ = 0;
  int64_t evicted_ = 0;
  Tier* tier_ = nullptr;
  Status trouble_;
  size_t chosen_group_ = 0;
  std::vector<uint32_t> chosen_;  // rows that are to go to disk together
};

// Moves memory from a group with more free rows than it needs to the ledger, by moving its last rows to where others were.
class Shrink {
 public:
  // Begins to take ``rows`` rows from the end of the group, unless it is at work.
  void begin(Group& group, size_t rows);
  bool working() const { return group_ != nullptr; }

  // Looks at about ``rows`` rows.
  void slice(size_t rows);

 private:
  Group* group_ = nullptr;
  uint32_t floor_ = 0;
  uint32_t at_ = 0;       // rows from here on have been moved
  uint32_t shard_ = 0;    // whose supply is to be cleaned next
};

}  // namespace larix
