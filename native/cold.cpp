#include "cold.hpp"

#include <sys/file.h>

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <filesystem>

namespace larix {

namespace {

constexpr size_t kMostSegments = 24;    // from where on even unequal ones are merged
constexpr size_t kLeastInputs = 4;      // of a merge of similar segments
constexpr uint32_t kSimilar = 4;        // the largest of similar segments has so many times the rows of the least
constexpr uint64_t kFewRows = 1 << 16;  // holes that do not matter
constexpr size_t kMostBehind = 4;
constexpr size_t kWalkPages = 64;       // read together by each
constexpr const char* kSuffix = ".segment";
constexpr const char* kPart = ".part";

// Whether a file has the name of a segment, finished or not.
bool is_segment(std::string name) {
  if (name.ends_with(kPart)) name.resize(name.size() - std::strlen(kPart));
  Ages ages;
  int length = 0;
  if (std::sscanf(name.c_str(), "%" SCNu64 "-%" SCNu64 ".segment%n", &ages.first, &ages.last, &length) != 2) return false;
  return static_cast<size_t>(length) == name.size();
}

}  // namespace

Cold::Cold(std::string folder, size_t record_bytes, PageReader& reader)
    : folder_(std::move(folder)), layout_(record_bytes), reader_(reader) {}

Cold::~Cold() {
  if (merge_) merge_->output()->file().remove();  // which may have its name already, but not its place
  merge_.reset();
  for (const auto& segment : retired_) segment->file().remove();
  for (const auto& segment : segments_) segment->file().remove();
}

std::string Cold::path_of(Ages ages) const {
  char name[64];
  std::snprintf(name, sizeof name, "/%012" PRIu64 "-%012" PRIu64 "%s", ages.first, ages.last, kSuffix);
  return folder_ + name;
}

Status Cold::open() {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return Status::system(folder_, "make the folder", error.value());
  if (Status status = File::create(folder_ + "/" + kLock, lock_); !status.ok()) return status;
  if (flock(lock_.descriptor(), LOCK_EX | LOCK_NB)) {
    return Status::error(folder_ + ": in use by another store; give each its own folder");
  }
  for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    if (is_segment(entry->path().filename())) unlink(entry->path().c_str());
  }
  return error ? Status::system(folder_, "list", error.value()) : Status();
}

Status Cold::put(std::span<const ColdKey> keys, const char* records) {
  if (keys.empty()) return {};
  std::vector<Sought> order(keys.size());
  for (size_t at = 0; at < keys.size(); ++at) {
    order[at] = {segment_hash(keys[at].id, keys[at].table), static_cast<uint32_t>(at)};
  }
  std::sort(order.begin(), order.end(), [&](const Sought& one, const Sought& other) {
    if (one.hash != other.hash) return one.hash < other.hash;
    const uint32_t a = keys[one.at].table, b = keys[other.at].table;
    return a != b ? a < b : one.at < other.at;
  });
  const Ages ages{last_age_ + 1, last_age_ + 1};
  const std::string path = path_of(ages);
  std::unique_ptr<SegmentWriter> writer;
  Status status = SegmentWriter::create(path + kPart, layout_, ages, order.size(), writer);
  for (size_t i = 0; i < order.size() && status.ok(); ++i) {
    const ColdKey& key = keys[order[i].at];
    const bool repeated = i + 1 < order.size() && order[i + 1].hash == order[i].hash &&
                          keys[order[i + 1].at].table == key.table;
    if (repeated) continue;
    status = writer->add(order[i].hash, key.id, key.table, records + order[i].at * layout_.record_bytes);
  }
  if (status.ok()) status = writer->finish();
  if (status.ok()) status = writer->publish(path);
  if (!status.ok()) {
    if (writer) writer->segment()->file().remove();
    return status;
  }
  last_age_ = ages.last;
  counts_.spilled += writer->rows();
  segments_.push_back(writer->segment());
  spoiled_.clear();
  return {};
}

Status Cold::read(std::span<const ColdKey> keys, char* records, uint8_t* found) {
  return search(keys, records, found, false);
}

Status Cold::take(std::span<const ColdKey> keys, char* records, uint8_t* found) {
  return search(keys, records, found, true);
}

Status Cold::erase(std::span<const ColdKey> keys, uint8_t* found) { return search(keys, nullptr, found, true); }

Status Cold::search(std::span<const ColdKey> keys, char* records, uint8_t* found, bool take) {
  std::fill_n(found, keys.size(), uint8_t{0});
  if (segments_.empty() || keys.empty()) return {};
  std::vector<Sought> sought(keys.size());
  for (size_t at = 0; at < keys.size(); ++at) {
    sought[at] = {segment_hash(keys[at].id, keys[at].table), static_cast<uint32_t>(at)};
  }
  std::sort(sought.begin(), sought.end(), [](const Sought& a, const Sought& b) { return a.hash < b.hash; });

  // In memory: every row of every segment that may be one of the keys. Then all their pages at once.
  struct Asked {
    size_t segment;
    uint64_t page;
    size_t first, last;  // candidates
  };
  std::vector<Candidate> candidates;
  std::vector<Asked> asked;
  std::vector<PageReader::Request> requests;
  for (size_t at = 0; at < segments_.size(); ++at) {
    const Segment& segment = *segments_[at];
    size_t next = candidates.size();
    segment.locate(sought, candidates);
    for (; next < candidates.size(); ++next) {
      const uint64_t page = layout_.page_of(candidates[next].row);
      if (asked.empty() || asked.back().segment != at || asked.back().page != page) {
        asked.push_back({at, page, next, next});
        requests.push_back({segment.file().descriptor(), page * layout_.page_bytes});
      }
      asked.back().last = next + 1;
    }
  }
  std::vector<Hit> hits;
  hits.reserve(candidates.size());
  std::vector<uint32_t> newest(keys.size());  // the segment each record is from, counted from 1
  Status status;
  reader_.read(requests, layout_.page_bytes, [&](size_t request, const char* page, int error) {
    const Asked& what = asked[request];
    Segment& segment = *segments_[what.segment];
    if (!status.ok()) return;
    if (error || !(status = segment.check(page, what.page)).ok()) {
      if (error) status = segment.unreadable(what.page, error);
      return;
    }
    const size_t before = hits.size();
    for (size_t at = what.first; at < what.last; ++at) {
      const RowView row(page + layout_.offset_of(candidates[at].row), layout_);
      const uint32_t place = sought[candidates[at].sought].at;
      if (row.id != keys[place].id || row.table != keys[place].table) continue;
      hits.push_back({&segment, candidates[at].row});
      if (newest[place] > what.segment) continue;
      newest[place] = static_cast<uint32_t>(what.segment) + 1;
      if (records) std::memcpy(records + place * layout_.record_bytes, row.record, layout_.record_bytes);
    }
    counts_.pages_vain += hits.size() == before;
  });
  counts_.pages_read += static_cast<int64_t>(requests.size());
  if (!status.ok()) return status;
  for (size_t at = 0; at < keys.size(); ++at) found[at] = newest[at] != 0;
  if (!take) return {};
  for (const Hit& hit : hits) {
    if (!hit.segment->kill(hit.row)) continue;  // a repeated key
    ++counts_.taken;
    if (merge_) merge_->killed(hit.segment, hit.row);
  }
  return {};
}

Status Cold::sync() const {
  for (const auto& segment : segments_) {
    if (Status status = segment->file().sync(); !status.ok()) return status;
  }
  return {};
}

std::vector<Cold::Frozen> Cold::freeze() const {
  std::vector<Frozen> frozen;
  for (const auto& segment : segments_) frozen.push_back({segment, segment->dead()});
  return frozen;
}

Status Cold::walk(const Frozen& frozen, uint64_t first, uint64_t pages, const Visit& visit) {
  const Segment& segment = *frozen.segment;
  const PageLayout& layout = segment.layout();
  const uint64_t end = std::min(layout.pages(segment.rows()), first + pages);
  if (first >= end) return {};
  std::vector<char> chunk((end - first) * layout.page_bytes);
  if (Status status = segment.read(first, end - first, chunk.data()); !status.ok()) return status;
  const uint64_t last = std::min<uint64_t>(segment.rows(), end * layout.page_rows);
  for (uint64_t row = first * layout.page_rows; row < last; ++row) {
    if (frozen.dead[row / 64] >> row % 64 & 1) continue;
    visit(RowView(chunk.data() + (layout.page_of(row) - first) * layout.page_bytes + layout.offset_of(row), layout));
  }
  return {};
}

Status Cold::each(const Visit& visit) const {
  for (const Frozen& frozen : freeze()) {
    const uint64_t pages = layout_.pages(frozen.segment->rows());
    for (uint64_t page = 0; page < pages; page += kWalkPages) {
      if (Status status = walk(frozen, page, kWalkPages, visit); !status.ok()) return status;
    }
  }
  return {};
}

ColdCounts& ColdCounts::operator+=(const ColdCounts& other) {
  rows += other.rows, bytes += other.bytes, segments += other.segments, memory += other.memory;
  spilled += other.spilled, taken += other.taken, compacted += other.compacted;
  pages_read += other.pages_read, pages_vain += other.pages_vain;
  return *this;
}

ColdCounts Cold::counts() const {
  ColdCounts counts = counts_;
  counts.rows = rows();
  counts.segments = static_cast<int64_t>(segments_.size());
  counts.memory = static_cast<int64_t>(memory());
  for (const auto& segment : segments_) counts.bytes += static_cast<int64_t>(segment->bytes());
  return counts;
}

int64_t Cold::rows() const {
  int64_t rows = 0;
  for (const auto& segment : segments_) rows += segment->live();
  return rows;
}

size_t Cold::memory() const {
  size_t bytes = sizeof *this + folder_.capacity();
  for (const auto& segment : segments_) bytes += sizeof segment + segment->memory();
  return bytes + retired_memory_ + (merge_ ? merge_->memory() : 0);
}

// ---- compaction -----------------------------------------------------------------------------------------------------

std::span<const std::shared_ptr<Segment>> Cold::worth_merging() const {
  const auto spoiled = [&](const std::shared_ptr<Segment>& segment) {
    return std::find(spoiled_.begin(), spoiled_.end(), segment) != spoiled_.end();
  };
  const std::span<const std::shared_ptr<Segment>> all = segments_;
  const auto hollow = [&](uint32_t holes, uint32_t of) -> std::span<const std::shared_ptr<Segment>> {
    for (size_t at = 0; at < all.size(); ++at) {
      const uint64_t dead = all[at]->rows() - all[at]->live();
      if (dead * of > uint64_t{all[at]->rows()} * holes && !spoiled(all[at])) return all.subspan(at, 1);
    }
    return {};
  };
  if (const auto mostly = hollow(3, 4); !mostly.empty()) return mostly;  // much comes free for little
  std::span<const std::shared_ptr<Segment>> cheapest;
  uint64_t least_rows = UINT64_MAX;
  for (size_t end = all.size(); end >= kLeastInputs; --end) {
    uint64_t rows = 0, least = UINT64_MAX, most = 0;
    size_t similar = 0, count = 0;  // of the segments before ``end``: how many are alike, and looked at
    for (; count < std::min(end, Merge::kMostInputs) && (count < kLeastInputs || similar == count); ++count) {
      const auto& segment = all[end - count - 1];
      if (spoiled(segment) || rows + segment->live() > Segment::kMostRows) break;
      rows += segment->live();
      least = std::min<uint64_t>(least, segment->live());
      most = std::max<uint64_t>(most, segment->live());
      if (similar == count && most <= kSimilar * least) ++similar;
    }
    if (similar >= kLeastInputs) return all.subspan(end - similar, similar);
    if (count >= kLeastInputs && rows < least_rows) cheapest = all.subspan(end - count, count), least_rows = rows;
  }
  if (all.size() > kMostSegments) return cheapest;
  return hollow(1, 2);
}

unsigned Cold::behind() const {
  uint64_t rows = 0, live = 0;
  for (const auto& segment : segments_) rows += segment->rows(), live += segment->live();
  const size_t files = segments_.size() * 2 / kMostSegments, holes = rows / (live + kFewRows / 2);
  return static_cast<unsigned>(std::clamp<size_t>(std::max(files, holes + 1), 2, 2 + kMostBehind) - 2);
}

// Segments without a living row need no merge.
void Cold::drop_dead() {
  const auto gone = std::stable_partition(segments_.begin(), segments_.end(), [&](const auto& segment) {
    return segment->live() > 0 || (merge_ && merge_->reads(segment.get()));
  });
  std::for_each(gone, segments_.end(), [&](auto& segment) { retire(std::move(segment)); });
  segments_.erase(gone, segments_.end());
}

void Cold::retire(std::shared_ptr<Segment> segment) {
  retired_memory_ += segment->memory();
  retired_.push_back(std::move(segment));
}

void Cold::give_up() {
  for (const auto& segment : segments_) {
    if (merge_->reads(segment.get())) spoiled_.push_back(segment);
  }
  merge_.reset();
}

Status Cold::compact(size_t bytes, bool& more) {
  const std::lock_guard lock(compacting_);
  more = false;
  if (Status status = finish_merge(); !status.ok()) {
    give_up();
    return status;
  }
  retired_memory_ = 0;
  if (merge_ && merge_->published()) swap_merged();
  drop_dead();
  const Status status = step(bytes);
  if (!status.ok() && merge_) give_up();
  more = merge_ || !retired_.empty() || !worth_merging().empty();
  return status;
}

Status Cold::step(size_t bytes) {
  if (!merge_) {
    const auto inputs = worth_merging();
    if (inputs.empty()) return {};
    const Ages ages{inputs.front()->ages().first, inputs.back()->ages().last};
    if (Status status = Merge::begin(inputs, path_of(ages) + kPart, merge_); !status.ok()) {
      spoiled_.insert(spoiled_.end(), inputs.begin(), inputs.end());
      return status;
    }
  }
  return merge_->written() ? Status() : merge_->step(bytes);
}

Status Cold::settle() {
  const std::lock_guard lock(compacting_);
  return finish_merge();
}

Status Cold::finish_merge() {
  for (const auto& segment : retired_) segment->file().remove();
  retired_.clear();
  if (!merge_ || !merge_->written() || merge_->published()) return {};
  return merge_->publish(path_of(merge_->output()->ages()));
}

// The merged segment takes its inputs' place.
void Cold::swap_merged() {
  const auto first = std::find_if(segments_.begin(), segments_.end(),
                                  [&](const auto& segment) { return merge_->reads(segment.get()); });
  const auto last = std::find_if(first, segments_.end(),
                                 [&](const auto& segment) { return !merge_->reads(segment.get()); });
  const std::shared_ptr<Segment> output = merge_->output();
  // A segment that was written anew alone has its old name: there is no file left to remove.
  std::for_each(first, last, [&](const auto& segment) {
    if (segment->file().path() != output->file().path()) retire(segment);
  });
  const auto place = segments_.erase(first, last);
  if (output->rows()) {
    counts_.compacted += static_cast<int64_t>(output->bytes());
    segments_.insert(place, output);
  }
  merge_.reset();
}

}  // namespace larix
