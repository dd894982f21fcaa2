// Where rows have gone that were away or were moved: from the handle they had to the one they have. The last moves are
// remembered, some ten thousands and those of several calls at least: a gradient that comes later is lost.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "slot.hpp"

namespace larix {

class Moves {
 public:
  // ``most`` moves follow.
  void expect(size_t most) {
    if (batches_.empty() || batches_.back().moves.size() + most > kBatch) {
      batches_.emplace_back().moves.reserve(std::max(most, kBatch));
    }
    while (batches_.size() > kBatches && total_ - batches_.front().moves.size() >= kMoves) {
      total_ -= batches_.front().moves.size();
      batches_.pop_front();
    }
  }

  void note(Handle from, Handle to) {
    if (batches_.empty() || batches_.back().moves.size() == batches_.back().moves.capacity()) expect(1);
    batches_.back().moves.push_back({from, to});
    batches_.back().sorted = false;
    ++total_;
  }

  bool empty() const { return total_ == 0; }

  // The handle at the end of the way, or kNoHandle if the way is not known.
  Handle follow(Handle handle) {
    Handle end = kNoHandle;
    for (const Move* move; (move = find(handle)); handle = end) end = move->to;
    return end;
  }

  size_t memory() const {
    size_t bytes = 0;
    for (const Batch& batch : batches_) bytes += sizeof batch + batch.moves.capacity() * sizeof(Move);
    return bytes;
  }

 private:
  static constexpr size_t kMoves = size_t{1} << 14;  // remembered at least, and so are those of kBatches calls
  static constexpr size_t kBatch = 1024;             // that are sorted together, unless a call has more
  static constexpr size_t kBatches = 8;

  struct Move {
    Handle from, to;
  };
  struct Batch {
    std::vector<Move> moves;
    bool sorted = false;
  };

  const Move* find(Handle from) {
    const auto before = [](const Move& a, const Move& b) { return a.from < b.from; };
    for (auto batch = batches_.rbegin(); batch != batches_.rend(); ++batch) {
      std::vector<Move>& moves = batch->moves;
      if (!std::exchange(batch->sorted, true)) std::sort(moves.begin(), moves.end(), before);
      const auto found = std::lower_bound(moves.begin(), moves.end(), Move{from, from}, before);
      if (found != moves.end() && found->from == from) return &*found;
    }
    return nullptr;
  }

  std::deque<Batch> batches_;
  size_t total_ = 0;
};

}  // namespace larix
