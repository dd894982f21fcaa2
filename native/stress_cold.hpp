// A tier on disk and the map it is held to, for stress_cold.cpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cold.hpp"

namespace larix::stress {

inline void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "stress_cold: %s\n", what);
  std::abort();
}

inline void expect(const Status& status) { expect(status.ok(), status.sentence().c_str()); }

inline std::vector<std::string> segments_in(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".segment") paths.push_back(entry.path());
  }
  return paths;
}

struct Less {
  bool operator()(const ColdKey& a, const ColdKey& b) const { return a.table != b.table ? a.table < b.table : a.id < b.id; }
};

// One tier and what it must hold.
class Oracle {
 public:
  Oracle(const std::string& folder, size_t record_bytes, uint64_t seed, bool ring)
      : folder_(folder), record_bytes_(record_bytes), reader_(ring), random_(seed) {
    cold_ = std::make_unique<Cold>(folder, record_bytes, reader_);
    expect(cold_->open());
  }

  // A compactor works beside, as in a store: under the lock, but for what needs none.
  void run(std::chrono::steady_clock::time_point until) {
    std::thread compactor([&] {
      while (std::chrono::steady_clock::now() < until) {
        {
          const std::lock_guard lock(mutex_);
          bool more;
          expect(cold_->compact(slice_, more));
        }
        expect(cold_->settle());
      }
    });
    while (std::chrono::steady_clock::now() < until) {
      const std::lock_guard lock(mutex_);
      switch (random_() % 16) {
        case 0: check_all(); break;
        case 1: check_frozen(); break;
        case 2: slice_ = size_t{1} << random_() % 20; break;
        case 3: replace(); break;
        case 4: break;  // the compactor's turn
        case 5: erase(); break;
        case 6: case 7: case 8: ask(false); break;
        case 9: case 10: case 11: case 12: ask(true); break;
        default: put();
      }
    }
    compactor.join();
    check_all();
    bool more = true;
    while (more) expect(cold_->compact(size_t{1} << 16, more));
    check_all();
    int64_t bytes = 0;
    for (const std::string& path : segments_in(folder_)) bytes += static_cast<int64_t>(std::filesystem::file_size(path));
    expect(bytes == cold_->counts().bytes, "bytes on disk are not what is counted");
  }

  void put() {
    std::set<ColdKey, Less> fresh;
    for (size_t n = random_() % 3000; n; --n) {
      const ColdKey key = any_key();
      if (!rows_.contains(key)) fresh.insert(key);
    }
    put({fresh.begin(), fresh.end()});
  }

  void put(const std::vector<ColdKey>& keys) {
    std::string records;
    for (const ColdKey& key : keys) records += rows_[key] = any_record();
    expect(cold_->put(keys, records.data()));
    expect(cold_->counts().rows == static_cast<int64_t>(rows_.size()), "a put does not count");
  }

  // A newer version hides an older one, and both go together.
  void replace() {
    std::vector<ColdKey> keys = some_keys();
    keys.resize(std::min<size_t>(keys.size(), 20));
    if (keys.empty()) return;
    std::string records;
    for (const ColdKey& key : keys) records += rows_[key] = any_record();
    keys.push_back(keys.front());  // in one put the last version counts
    records += rows_[keys.front()] = any_record();
    expect(cold_->put(keys, records.data()));
    check(keys, false);
    check(keys, true);
  }

  void ask(bool take) { check(some_keys(), take); }

  void check(const std::vector<ColdKey>& keys, bool take) {
    const std::string untouched(record_bytes_, '?');
    std::string records;
    for (size_t n = keys.size(); n; --n) records += untouched;
    std::vector<uint8_t> found(keys.size(), 7);
    expect(take ? cold_->take(keys, records.data(), found.data()) : cold_->read(keys, records.data(), found.data()));
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto row = rows_.find(keys[i]);
      expect(found[i] == (row != rows_.end()), "a key is there that was taken, or is lost");
      const std::string expected = row == rows_.end() ? untouched : row->second;
      expect(records.compare(i * record_bytes_, record_bytes_, expected) == 0, "a record is not what was put");
    }
    if (!take) return;
    for (const ColdKey& key : keys) rows_.erase(key);
    expect(cold_->counts().rows == static_cast<int64_t>(rows_.size()), "a take does not count");
  }

  void erase() {
    const std::vector<ColdKey> keys = some_keys();
    std::vector<uint8_t> found(keys.size());
    expect(cold_->erase(keys, found.data()));
    for (size_t i = 0; i < keys.size(); ++i) expect(found[i] == rows_.contains(keys[i]), "erase did not find a row");
    for (const ColdKey& key : keys) rows_.erase(key);
  }

  void check_all() {
    size_t seen = 0;
    expect(cold_->each([&](const RowView& row) { seen += is(rows_, row); }));
    expect(seen == rows_.size(), "each visits another number of rows than there are");
    expect(cold_->counts().rows == static_cast<int64_t>(rows_.size()), "the number of rows is wrong");
  }

  // What is frozen stays, whatever happens to the tier.
  void check_frozen() {
    if (!frozen_.empty()) {
      size_t seen = 0;
      for (const Cold::Frozen& frozen : frozen_) {
        for (uint64_t page = 0; page * frozen.segment->layout().page_rows < frozen.segment->rows(); page += 3) {
          expect(Cold::walk(frozen, page, 3, [&](const RowView& row) { seen += is(then_, row); }));
        }
      }
      expect(seen == then_.size(), "a frozen tier has changed");
    }
    frozen_ = cold_->freeze();
    then_ = rows_;
  }

  // A process dies, and leaves all that it had: whoever takes the folder next finds none of it, and another does not get it.
  void die() {
    const std::filesystem::path folder = folder_, aside = folder_ + ".left";
    bool more;
    for (int spills = 0; spills < 8; ++spills) put();
    expect(cold_->compact(size_t{1} << 30, more));
    expect(cold_->settle());  // a merged segment has its name, not yet its inputs' place
    std::filesystem::copy(folder, aside);
    cold_.reset();
    expect(segments_in(folder).empty(), "what is closed leaves segments");
    for (const auto& entry : std::filesystem::directory_iterator(aside)) {
      std::filesystem::copy_file(entry, folder / entry.path().filename(), std::filesystem::copy_options::skip_existing);
      if (entry.path().extension() == ".segment") {
        std::filesystem::copy_file(entry, (folder / entry.path().filename()).string() + ".part");
      }
    }
    std::filesystem::remove_all(aside);
    std::ofstream(folder / "letter.part");
    expect(!segments_in(folder).empty(), "nothing is left");
    PageReader reader;
    Cold next(folder_, record_bytes_, reader), other(folder_, record_bytes_, reader);
    expect(next.open());
    expect(segments_in(folder).empty(), "what another left is still there");
    expect(std::filesystem::exists(folder / "letter.part"), "a file that is none of ours is gone");
    expect(!other.open().ok(), "two stores share a folder");
    rows_.clear();
  }

  void fill(size_t rows) {
    while (rows_.size() < rows) put();
  }

  Cold& cold() { return *cold_; }
  const auto& rows() const { return rows_; }
  std::vector<ColdKey> all_keys() const {
    std::vector<ColdKey> keys;
    for (const auto& [key, record] : rows_) keys.push_back(key);
    return keys;
  }

  ColdKey any_key() {
    constexpr int64_t extremes[] = {0, -1, INT64_MIN, INT64_MAX};
    const uint64_t draw = random_();
    const auto table = draw % 3 == 0 ? 65535 : static_cast<uint32_t>(1 + draw % 2);
    return {draw % 60 == 0 ? extremes[draw / 64 % 4] : static_cast<int64_t>(draw / 64 % 20000), table};
  }

 private:
  struct Hash {
    size_t operator()(const ColdKey& key) const { return segment_hash(key.id, key.table); }
  };
  struct Equal {
    bool operator()(const ColdKey& a, const ColdKey& b) const { return a.id == b.id && a.table == b.table; }
  };
  using Map = std::unordered_map<ColdKey, std::string, Hash, Equal>;

  bool is(const Map& rows, const RowView& row) {
    const auto found = rows.find({row.id, row.table});
    expect(found != rows.end(), "a row is visited that is not there");
    expect(found->second.compare(0, record_bytes_, row.record, record_bytes_) == 0, "a record visited is not what was put");
    return true;
  }

  std::string any_record() {
    std::string record(record_bytes_, 0);
    for (char& byte : record) byte = static_cast<char>(random_());
    return record;
  }

  std::vector<ColdKey> some_keys() {
    std::vector<ColdKey> keys;
    for (size_t n = random_() % 2000; n; --n) keys.push_back(any_key());  // may repeat
    return keys;
  }

  std::string folder_;
  size_t record_bytes_;
  PageReader reader_;
  std::unique_ptr<Cold> cold_;
  std::mt19937_64 random_;
  std::mutex mutex_;
  size_t slice_ = 1 << 12;
  Map rows_, then_;
  std::vector<Cold::Frozen> frozen_;
};

}  // namespace larix::stress
