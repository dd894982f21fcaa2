// Keeps a store within its memory budget: sees ahead how many rows are about to be born, and has as many free in time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "evict.hpp"
#include "ledger.hpp"

namespace larix {

class Room {
 public:
  // All that it is given must outlive it. ``limited``: whether the ledger is.
  Room(std::span<const std::unique_ptr<Group>> groups, const TableRules& rules, const Clock& clock,
       std::vector<int64_t>& sizes, Ledger& ledger, bool limited);

  // Whether there could ever be something to do ahead of need.
  bool needed() const { return timed() || (limited_ && sweep_.any()); }
  bool timed() const { return sweep_.timed(); }

  // So many rows of each group were born in a call: about as many will be in those that come.
  void expect(std::span<const size_t> born);

  // Evicts ahead of need for some 100 microseconds. Returns whether there is more to do at once.
  bool slice();

  // Makes memory for ``rows`` more rows of a group now, as far as there are rows to evict; by ``force`` also such that are
  // held.
  void make(size_t group, size_t rows, bool force);

  // How many ids of a group that went away may be listed for deltas.
  size_t most_gone(const Group& group) const;

  int64_t evicted() const { return sweep_.evicted(); }

  // From now on rows that make room go there; see Sweep.
  void send_to(Tier* tier) {
    sweep_.send_to(tier);
    tiered_ = true;
  }
  // What the tier refused to the last make, once.
  Status trouble() { return std::exchange(trouble_, {}); }

 private:
  // What is short of the rows expected, in bytes, and what could be had from groups that have more free than that.
  struct Lack {
    int64_t bytes;
    int64_t surplus;
    size_t richest;
    size_t rows;  // surplus of the richest group
  };
  Lack lack() const;
  // Has the ledger keep as much as the lists of ids that are gone may come to take.
  void charge_gone();
  size_t at_hand(size_t group) const;

  std::span<const std::unique_ptr<Group>> groups_;
  Ledger& ledger_;
  bool limited_;
  bool at_work_ = false;
  bool tiered_ = false;
  Status trouble_;
  size_t widest_ = 0;  // bytes of a row
  size_t gone_ = 0;    // bytes kept for ids that are gone
  std::vector<size_t> expected_;  // births of a call, by group
  Sweep sweep_;
  Shrink shrink_;
};

}  // namespace larix
