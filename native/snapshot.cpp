#include "snapshot.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "store.hpp"
#include "tier.hpp"

namespace larix {

namespace {

constexpr size_t kSlice = size_t{512} << 10;  // bytes copied under the lock at a time: a tenth of a millisecond
constexpr size_t kSmall = size_t{64} << 10;  // bytes put aside that are not worth saving
constexpr int kRest = 9;                      // times as long others have the lock to themselves, if there are any

using Time = std::chrono::steady_clock;

}  // namespace

Snapshot::Snapshot(Store& store, size_t memory, size_t piece, std::string folder)
    : store_(store),
      piece_(std::min(piece, memory / 8)),
      most_staged_(memory / 8 * 3 - piece_ / 2),  // and an eighth is in the hands of who asked
      portion_(std::min(kSlice, piece_ / 4)),
      aside_(std::make_unique<Aside>(std::min(memory / 2, 3 * store.row_bytes() + kSmall), std::move(folder))) {
  const std::lock_guard lock(store_.mutex_);
  sequence_ = store_.end();
  steps_ = store_.clock_.steps;
  now_ = store_.clock_.now;
  size_t longest = 0;
  for (size_t group = 0; group < store_.groups_.size(); ++group) {
    const Rows& rows = store_.groups_[group]->rows;
    watches_.push_back({sequence_, static_cast<uint32_t>(group), 0, aside_.get()});
    ends_.push_back(rows.high());
    longest = std::max(longest, rows.stride());
  }
  for (uint32_t group = 0; store_.tier_ && group < store_.groups_.size(); ++group) {
    for (Cold::Frozen& segment : store_.tier_->freeze(group)) on_disk_.push_back({group, std::move(segment)});
  }
  row_.resize(longest);
  stage_.emplace(store_.sizes_.size(), most_staged_, portion_, longest);
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
  on_disk_.clear();
  stage_.reset();
}

Snapshot::Piece Snapshot::next(int& error) {
  error = 0;
  if (!aside_) return {};
  for (;;) {
    const uint32_t fullest = stage_->fullest();
    peak_ = std::max(peak_, stage_->high() + put_aside_ + slice_.capacity());
    if (stage_->bytes(fullest) < piece_ && stage_->used() < most_staged_ && advance(error)) continue;
    if (error || fullest == 0) return {};
    const Group& group = store_.group_of(fullest);
    return {fullest, stage_->give(fullest, group, group.rows.stride())};
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
    if (group != Aside::kNoGroup) stage(*store_.groups_[group], pending_.data() + taken + 8);
    taken += 8 + length;
  }
  pending_ = pending_.subspan(taken);
  return true;
}

// Takes what was put aside, or has the cursor go on; returns false once both are done.
bool Snapshot::look(int& error) {
  const Group* group = nullptr;
  bool walked, busy;
  Time::duration held;
  {
    const std::lock_guard lock(store_.mutex_);
    const Time::time_point start = Time::now();
    busy = std::exchange(calls_, store_.calls_) != store_.calls_;
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
    held = Time::now() - start;
  }
  if (group) {
    const Time::time_point rest = Time::now() + kRest * held;
    for (size_t at = 0; at < slice_.size(); at += group->rows.stride()) stage(*group, slice_.data() + at);
    if (busy) std::this_thread::sleep_until(rest);
    return true;
  }
  if (!walked || !pending_.empty()) return true;
  if (!on_disk_.empty()) {
    read_segment(error);
    return error == 0;
  }
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

// Stages some rows of a segment that the tier held, which nobody can change.
void Snapshot::read_segment(int& error) {
  const auto& [group, frozen] = on_disk_.back();
  const PageLayout& layout = frozen.segment->layout();
  const uint64_t pages = std::max<uint64_t>(1, portion_ / layout.page_bytes);
  trouble_ = Cold::walk(frozen, page_, pages, [&](const RowView& view) {
    Tier::unpack(view, row_.data());
    stage(*store_.groups_[group], row_.data());
  });
  page_ += pages;
  if (!trouble_.ok()) error = EIO;
  if (page_ < layout.pages(frozen.segment->rows())) return;
  page_ = 0;
  on_disk_.pop_back();
}

void Snapshot::stage(const Group& group, const char* row) {
  const auto& header = *reinterpret_cast<const Header*>(row);
  if (header.table == 0 || header.changed > sequence_) return;  // free, or younger: then it was put aside if it was there
  stage_->add(header.table, row, group.rows.stride());
}

}  // namespace larix
