// Hammers snapshots and changes while several threads change the rows. Built for sanitizers, without Python; prints nothing
// but what goes wrong, and one line at the end. Usage: stress_versions [seconds] [seed].
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <thread>
#include <unordered_map>

#include "store.hpp"
#include "stress_folder.hpp"

namespace {

using larix::Slot;
using larix::Store;

constexpr uint32_t kClients = 3;
constexpr size_t kDim = 5;
constexpr int64_t kIds = 6000;
constexpr int64_t kBudget = int64_t{32} << 20;  // with a tier
constexpr size_t kMemory = size_t{256} << 10;  // little, so that much goes to the file

using Clock = std::chrono::steady_clock;

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "stress_versions: %s\n", what);
  std::abort();
}

// Every call of a client leaves its table in a state that can be told from any other: all ids are there with one and the
// same number in every weight, or none is.
class Client {
 public:
  Client(Store& store, bool tier, uint32_t table, uint64_t seed)
      : store_(store), tier_(tier), table_(table), random_(seed) {
    for (uint64_t id = 0; id < kIds; ++id) ids_.push_back(static_cast<int64_t>(id * larix::kGolden));
  }

  void run(Clock::time_point until) {
    put();
    while (Clock::now() < until) {
      switch (random_() % (tier_ ? 10 : 8)) {
        case 0: store_.remove(table_, ids_); break;
        case 1: put(); break;
        case 2: lookup(); break;
        case 8: case 9: spill(); break;
        default: update();
      }
    }
  }

 private:
  void put() {
    const std::vector<float> weights(ids_.size() * kDim, static_cast<float>(random_() % 1000));
    store_.put(table_, ids_, weights.data(), nullptr);
  }

  Slot slot(std::vector<float>& data, std::vector<larix::Handle>& handles) {
    data.assign(ids_.size() * kDim, 1.0f);
    handles.resize(ids_.size());
    return {.table = table_, .pool = larix::Pool::sum, .ids = ids_.data(), .count = ids_.size(), .samples = ids_.size(),
            .data = data.data(), .stride = kDim, .width = kDim, .handles = handles.data()};
  }

  // Some rows go to disk: that is no change.
  void spill() {
    std::vector<int64_t> some;
    std::sample(ids_.begin(), ids_.end(), std::back_inserter(some), random_() % ids_.size(), random_);
    larix::Status disk;
    store_.spill(table_, some, &disk);
    expect(disk.ok(), disk.sentence().c_str());
  }

  void lookup() {
    const Slot all = slot(data_, handles_);
    store_.gather({&all, 1}, true);
  }

  void update() { store_.update(slot(data_, handles_), 1.0, nullptr); }

  Store& store_;
  bool tier_;
  uint32_t table_;
  std::mt19937_64 random_;
  std::vector<int64_t> ids_;
  std::vector<float> data_;
  std::vector<larix::Handle> handles_;
};

using Rows = std::unordered_map<int64_t, float>;

void read(const larix::Columns& columns, Rows& into) {
  for (size_t at = 0; at < columns.ids.size(); ++at) {
    const float first = columns.weights[at * kDim];
    for (size_t c = 1; c < kDim; ++c) expect(columns.weights[at * kDim + c] == first, "half a row is another's");
    into[columns.ids[at]] = first;
  }
}

void expect_state(const Rows& rows) {
  expect(rows.empty() || rows.size() == kIds, "some rows of an instant are missing");
  for (const auto& [id, weight] : rows) expect(weight == rows.begin()->second, "rows are of different instants");
}

size_t take_snapshots(Store& store, Clock::time_point until, uint64_t seed) {
  std::mt19937_64 random(seed);
  size_t taken = 0;
  for (; Clock::now() < until; ++taken) {
    larix::Snapshot snapshot(store, kMemory, size_t{16} << 10, "/tmp");
    std::vector<Rows> tables(kClients + 1);
    size_t given = 0;
    int error = 0;
    for (;;) {
      const larix::Snapshot::Piece piece = snapshot.next(error);
      expect(error == 0, "a row could not be put aside");
      if (piece.table == 0) break;
      given += piece.rows.ids.size();
      read(piece.rows, tables[piece.table]);
      if (random() % 400 == 0) break;  // given up half way
      if (random() % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    expect(snapshot.peak_bytes() <= kMemory, "a snapshot took more memory than it was given");
    if (snapshot.next(error).table != 0) continue;
    size_t different = 0;
    for (const Rows& rows : tables) {
      expect_state(rows);
      different += rows.size();
    }
    expect(given == different, "a row was given twice");
  }
  return taken;
}

size_t follow(Store& store, Clock::time_point until) {
  std::vector<Rows> tables(kClients + 1);
  uint32_t since = 0;
  size_t merged = 0;
  for (; Clock::now() < until; ++merged) {
    const auto changes = store.changes(since);
    if (!changes) {  // too many ids went away since: all anew
      for (Rows& rows : tables) rows.clear();
      larix::Snapshot snapshot(store, kMemory, size_t{16} << 10, "/tmp");
      int error = 0;
      for (auto piece = snapshot.next(error); piece.table != 0; piece = snapshot.next(error)) {
        read(piece.rows, tables[piece.table]);
      }
      since = snapshot.sequence();
      continue;
    }
    for (uint32_t table = 1; table <= kClients; ++table) {
      for (const int64_t id : changes->tables[table].removed) tables[table].erase(id);
      read(changes->tables[table].rows, tables[table]);
      expect_state(tables[table]);
    }
    since = changes->sequence;
    if (merged % 5 == 0) store.forget(since);
  }
  return merged;
}

// ``folder``: where rows go and come from meanwhile, by order and for want of memory; "": nowhere.
void stress(int seconds, uint64_t seed, const std::string& folder) {
  std::vector<larix::TableSpec> tables;
  for (size_t i = 0; i < kClients; ++i) {
    tables.push_back({.group = i % 2, .birth = {larix::Init::constant, 0, 3.0f}});
  }
  const larix::GroupSpec group{kDim, larix::Precision::fp32, {.rule = larix::Rule::sgd, .lr = 1.0}};
  const bool tier = !folder.empty();
  for (size_t at = 0; at < tables.size() && tier; ++at) tables[at].policy.keep = larix::Keep::spilled;
  Store store({group, group}, std::move(tables), 3, {.bytes = tier ? kBudget : 0, .background = tier});
  if (tier) expect(store.open_tier(folder).ok(), "no tier");
  store.cut();
  const auto until = Clock::now() + std::chrono::seconds(seconds);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] { Client(store, tier, i + 1, seed * 1000 + i).run(until); });
  }
  std::atomic<size_t> taken = 0, merged = 0;
  for (uint64_t i = 0; i < 2; ++i) threads.emplace_back([&, i] { taken += take_snapshots(store, until, seed + i); });
  threads.emplace_back([&] { merged += follow(store, until); });
  for (std::thread& thread : threads) thread.join();
  std::printf("stress_versions: %zu snapshots, %zu changes, each of one instant\n", taken.load(), merged.load());
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  stress(seconds, seed, "");
  stress(seconds, seed, larix::stress::Folder().path());
}
