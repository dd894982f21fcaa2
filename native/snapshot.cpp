#include "snapshot.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "store.hpp"

namespace larix {

namespace {

constexpr size_t kSlice = size_t{256} << 10;  // bytes copied under the lock at a time: some ten microseconds

size_t row_bytes(const Group& group) { return 16 + (group.dim + group.state()) * sizeof(float); }

}  // namespace

Snapshot::Snapshot(Store& store, size_t memory, size_t piece, std::string folder)
    : store_(store),
      piece_(std::min(piece, memory / 8)),
      most_staged_(memory / 4),
      portion_(std::min(kSlice, piece_ / 2)),
      aside_(std::make_unique<Aside>(memory / 2, std::move(folder))) {  // and an eighth is in the hands of who asked
  const std::lock_guard lock(store_.mutex_);
  sequence_ = store_.end();
  steps_ = store_.clock_.steps;
  now_ = store_.clock_.now;
  staged_.resize(store_.sizes_.size());
  rows_ = store_.sizes_;
  for (size_t group = 0; group < store_.groups_.size(); ++group) {
    watches_.push_back({sequence_, static_cast<uint32_t>(group), 0, aside_.get()});
    ends_.push_back(store_.groups_[group]->rows.high());
  }
  for (size_t group = 0; group < store_.groups_.size(); ++group) {
    store_.groups_[group]->watches.push_back(&watches_[group]);
  }
  store_.clock_.watched = std::max(store_.clock_.watched, sequence_);
}

Snapshot::~Snapshot() { close(); }

void Snapshot::close() {
  const std::lock_guard lock(store_.mutex_);
  if (!aside_) return;
  store_.clock_.watched = 0;
  for (size_t group = 0; group < watches_.size(); ++group) {
    std::vector<Watch*>& watches = store_.groups_[group]->watches;
    std::erase(watches, &watches_[group]);
    for (const Watch* other : watches) store_.clock_.watched = std::max(store_.clock_.watched, other->upto);
  }
  aside_.reset();
  pending_ = {};
  slice_ = {};
  staged_.clear();
}

Snapshot::Piece Snapshot::next(int& error) {
  error = 0;
  if (!aside_) return {};
  for (;;) {
    uint32_t fullest = 0;
    size_t most = 0, total = 0;
    for (uint32_t table = 1; table < staged_.size(); ++table) {
      const size_t bytes = staged_[table].ids.size() * row_bytes(store_.group_of(table));
      total += bytes;
      if (bytes > most) most = bytes, fullest = table;
    }
    peak_ = std::max(peak_, total + put_aside_ + slice_.size());
    const bool more = most < piece_ && total < most_staged_ && advance(error);
    if (error) return {};
    if (more) continue;
    Piece piece{.table = fullest, .rows = {}};
    if (fullest) std::swap(piece.rows, staged_[fullest]);
    rows_[fullest] -= static_cast<int64_t>(piece.rows.ids.size());
    return piece;
  }
}

// Stages some rows; returns false once there are none.
bool Snapshot::advance(int& error) {
  if (pending_.empty() && !look(error)) return false;
  if (error) return false;
  size_t taken = 0;
  while (taken < pending_.size() && taken < portion_) {
    uint32_t group, length;
    std::memcpy(&group, pending_.data() + taken, 4);
    std::memcpy(&length, pending_.data() + taken + 4, 4);
    stage(*store_.groups_[group], pending_.data() + taken + 8);
    taken += 8 + length;
  }
  pending_ = pending_.subspan(taken);
  return true;
}

// Takes what was put aside, or has the cursor go on; returns false once both are done.
bool Snapshot::look(int& error) {
  const Group* group = nullptr;
  bool walked;
  {
    const std::lock_guard lock(store_.mutex_);
    error = aside_->error();
    if (error) return false;
    put_aside_ = aside_->peak();
    spilled_ = aside_->spilled();
    while (group_ < watches_.size() && watches_[group_].next >= ends_[group_]) ++group_;
    walked = group_ == watches_.size();
    if (walked || aside_->fill() > 0.5) {
      pending_ = aside_->take();
    } else {
      group = store_.groups_[group_].get();
      copy_slice(group->rows, watches_[group_].next, ends_[group_]);
    }
  }
  if (group) {
    for (size_t at = 0; at < slice_.size(); at += group->rows.stride()) stage(*group, slice_.data() + at);
    return true;
  }
  if (!walked || !pending_.empty()) return true;
  // The cursor is through, so nothing is put aside any more: what is left went to the file.
  pending_ = aside_->read_back();
  spilled_ = aside_->spilled();
  error = aside_->error();
  return !pending_.empty();
}

// Copies rows from ``next`` on, which is moved, but none from ``end`` on.
void Snapshot::copy_slice(const Rows& rows, uint64_t& next, uint64_t end) {
  const auto first = static_cast<uint32_t>(next);
  const size_t most = std::max<size_t>(portion_ / rows.stride(), 1);
  const size_t count = std::min({rows.run(first), static_cast<size_t>(end - next), most});
  slice_.resize(count * rows.stride());
  std::memcpy(slice_.data(), rows.at(first), slice_.size());
  next += count;
}

void Snapshot::stage(const Group& group, const char* row) {
  const auto& header = *reinterpret_cast<const Header*>(row);
  if (header.table == 0 || header.changed > sequence_) return;  // free, or younger: then it was put aside if it was there
  Columns& columns = staged_[header.table];
  if (columns.ids.capacity() == 0) {
    const auto left = static_cast<size_t>(std::max<int64_t>(rows_[header.table], 0));
    columns.reserve(std::min(left, (piece_ + 2 * portion_) / row_bytes(group)), group.dim, group.state());
  }
  columns.add(group, row);
}

}  // namespace larix
