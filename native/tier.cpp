#include "tier.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>

namespace larix {

namespace {

constexpr size_t kSpill = size_t{1} << 16;   // rows of a segment
constexpr size_t kWriteFactor = 8;           // bytes compacted for each byte spilled
constexpr size_t kLeast = size_t{64} << 10;  // and at least for a call that spills
constexpr size_t kPortion = size_t{256} << 10;  // bytes of a merge between two looks whether it is done
constexpr size_t kMostSegments = 96;         // of a group: each is an open file
constexpr size_t kTogether = size_t{1} << 20;

bool before(const ColdKey& a, const ColdKey& b) { return a.table != b.table ? a.table < b.table : a.id < b.id; }

}  // namespace

void sort_unique(std::vector<ColdKey>& keys) {
  std::sort(keys.begin(), keys.end(), before);
  keys.erase(std::unique(keys.begin(), keys.end(),
                         [](const ColdKey& a, const ColdKey& b) { return !before(a, b) && !before(b, a); }),
             keys.end());
}

bool holds(const std::vector<ColdKey>& keys, const ColdKey& key) {
  return std::binary_search(keys.begin(), keys.end(), key, before);
}

Tier::Part::Part(const std::string& folder, Group& group, PageReader& reader)
    : group(group), cold(folder, record_bytes(group), reader) {}

Tier::Tier(std::string folder, std::span<const std::unique_ptr<Group>> groups)
    : folder_(std::move(folder)), process_(getpid()), reader_(std::make_unique<PageReader>()) {
  for (size_t at = 0; at < groups.size(); ++at) {
    parts_.push_back(std::make_unique<Part>(folder_ + "/" + std::to_string(at), *groups[at], *reader_));
    if (!groups[at]->moves) groups[at]->moves = std::make_unique<Moves>();
  }
}

Tier::~Tier() {
  if (process_ == getpid()) return;
  for (auto& part : parts_) (void)part.release();  // the files are those of the process that forked this one
  (void)reader_.release();
}

// A forked child has a copy of what is known of the files, but the files are its parent's.
Status Tier::ours() const {
  if (process_ == getpid()) return {};
  return Status::error(folder_ + ": holds the rows of process " + std::to_string(process_) +
                       "; a forked process needs a store of its own");
}

Status Tier::open() {
  for (const auto& part : parts_) {
    if (Status status = part->cold.open(); !status.ok()) return status;
  }
  // A store of more groups may have died here: what its other parts left would stay for ever.
  std::error_code error;
  if (!std::filesystem::exists(folder_, error)) return {};  // a store of no tables
  for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    size_t number = 0;
    const auto [last, wrong] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (wrong != std::errc() || last != name.data() + name.size() || number < parts_.size()) continue;
    if (!std::filesystem::exists(entry->path() / Cold::kLock, error)) continue;
    Cold left(entry->path(), sizeof number, *reader_);
    if (Status status = left.open(); !status.ok()) return status;
  }
  return error ? Status::system(folder_, "list", error.value()) : Status();
}

Status Tier::fetch(size_t group, std::vector<ColdKey> keys) {
  Part& part = *parts_[group];
  if (Status status = ours(); !status.ok()) return status;
  if (part.cold.rows() == 0 || keys.empty()) return {};
  sort_unique(keys);
  const size_t bytes = part.cold.record_bytes();
  if (!part.keys.empty()) {  // a disk that was full has them wait still
    if (Status status = part.cold.put(part.keys, part.records.get()); !status.ok()) return status;
    part.keys.clear();
  }
  std::vector<uint8_t> found(keys.size());
  std::unique_ptr<char[]> records(new char[keys.size() * bytes]);  // not written to where nothing is found
  if (Status status = part.cold.take(keys, records.get(), found.data()); !status.ok()) return status;
  for (size_t at = 0; at < keys.size(); ++at) {
    if (!found[at]) continue;
    std::memmove(records.get() + part.keys.size() * bytes, records.get() + at * bytes, bytes);
    part.keys.push_back(keys[at]);
  }
  part.records = std::move(records);
  return {};
}

bool Tier::place(size_t number, bool any) {
  Part& part = *parts_[number];
  Group& group = part.group;
  const size_t bytes = part.cold.record_bytes();
  group.moves->expect(part.keys.size());
  for (; !part.keys.empty(); part.keys.pop_back()) {
    const auto [id, table] = part.keys.back();
    const char* record = part.records.get() + (part.keys.size() - 1) * bytes;
    const uint32_t row = group.take_back(place_hash(id, table), table, id, record + kContent, any);
    if (row == kNoRow) return false;
    uint32_t row_before;
    uint16_t generation_before;
    std::memcpy(&row_before, record, sizeof row_before);
    std::memcpy(&generation_before, record + sizeof row_before, sizeof generation_before);
    const Handle now = handle_of(row, group.rows.header(row).generation);
    group.moves->note(handle_of(row_before, generation_before), now);
    group.hold({&now, 1});
  }
  part.records.reset();
  return true;
}

std::vector<ColdKey> Tier::put_back(size_t group, Status& status) {
  Part& part = *parts_[group];
  std::vector<ColdKey> keys = part.keys;
  const Status put = part.cold.put(keys, part.records.get());
  if (put.ok()) part.keys.clear(), part.records.reset();
  if (status.ok()) status = put;
  return keys;
}

Status Tier::spill(size_t number, std::span<const uint32_t> rows) {
  if (Status status = ours(); !status.ok()) return status;
  Part& part = *parts_[number];
  Group& group = part.group;
  const size_t bytes = part.cold.record_bytes();
  std::vector<ColdKey> keys;
  std::vector<char> records;
  for (size_t first = 0; first < rows.size(); first += kSpill) {
    const auto some = rows.subspan(first, std::min(kSpill, rows.size() - first));
    keys.clear();
    records.resize(some.size() * bytes);
    for (size_t at = 0; at < some.size(); ++at) {
      char* record = records.data() + at * bytes;
      const Header& header = group.rows.header(some[at]);
      keys.push_back({header.id, header.table});
      std::memcpy(record, &some[at], sizeof some[at]);
      std::memcpy(record + sizeof some[at], group.rows.at(some[at]) + kFrom, bytes - sizeof some[at]);
    }
    if (Status status = part.cold.put(keys, records.data()); !status.ok()) return status;
    for (size_t at = 0; at < some.size(); ++at) group.send_away(place_hash(keys[at].id, keys[at].table), some[at]);
    part.owed += some.size() * bytes;
    bool more = part.cold.segments() >= kMostSegments;
    while (more && part.cold.segments() >= kMostSegments) {
      if (!part.cold.compact(kTogether, more).ok()) break;
    }
  }
  return {};
}

void Tier::unpack(const RowView& view, char* row) {
  auto& header = *reinterpret_cast<Header*>(row);
  header.id = view.id;
  header.table = static_cast<uint16_t>(view.table);
  std::memcpy(row + kFrom, view.record + sizeof(uint32_t), view.bytes - sizeof(uint32_t));
}

Status Tier::read(size_t number, std::span<const ColdKey> keys, const Visit& visit) {
  if (Status status = ours(); !status.ok()) return status;
  Part& part = *parts_[number];
  if (part.cold.rows() == 0 || keys.empty()) return {};
  const size_t bytes = part.cold.record_bytes();
  std::vector<uint8_t> found(keys.size());
  const std::unique_ptr<char[]> records(new char[keys.size() * bytes]);
  if (Status status = part.cold.read(keys, records.get(), found.data()); !status.ok()) return status;
  std::vector<char> row(part.group.rows.stride());
  for (size_t at = 0; at < keys.size(); ++at) {
    if (!found[at]) continue;
    unpack({keys[at].id, keys[at].table, records.get() + at * bytes, bytes}, row.data());
    visit(at, row.data());
  }
  return {};
}

Status Tier::keys(size_t group, uint32_t table, std::vector<int64_t>& ids) const {
  return parts_[group]->cold.each([&](const RowView& row) {
    if (row.table == table) ids.push_back(row.id);
  });
}

Status Tier::erase(size_t group, std::span<const ColdKey> keys, uint8_t* found) {
  if (Status status = ours(); !status.ok()) return status;
  return parts_[group]->cold.erase(keys, found);
}

bool Tier::compact(size_t bytes) {
  if (!ours().ok()) return false;
  for (const auto& part : parts_) {
    bool more;
    const Status status = part->cold.compact(bytes, more);
    if (!status.ok()) trouble_ = status.sentence();
    if (more) return true;  // the others' turn comes when this one has nothing to do
  }
  return false;
}

void Tier::pay(bool helped) {
  if (!ours().ok()) return;
  for (const auto& part : parts_) {
    if (part->owed == 0) continue;
    const size_t behind = part->cold.behind();
    if (!helped || behind) {
      // The further behind, the more: a thread that gets no core must not leave it all to the calls that come later.
      size_t left = std::max(kLeast, kWriteFactor * part->owed) << behind;
      for (bool more = true; more && left; left -= std::min(left, kPortion)) {
        const Status status = part->cold.compact(std::min(left, kPortion), more);
        if (!status.ok()) trouble_ = status.sentence();
      }
    }
    part->owed = 0;
  }
}

void Tier::settle() {
  // What fails here fails again in the next compact, which says so.
  for (const auto& part : parts_) (void)part->cold.settle().ok();
}

ColdCounts Tier::counts() const {
  ColdCounts sum;
  for (const auto& part : parts_) sum += part->cold.counts();
  sum.memory = memory();
  return sum;
}

int64_t Tier::memory() const {
  size_t bytes = sizeof *this + reader_->memory();
  for (const auto& part : parts_) bytes += part->cold.memory() + part->group.moves->memory();
  return static_cast<int64_t>(bytes);
}

}  // namespace larix
