// Hammers a store that may hold a fraction of its rows: births, evictions, refusals and memory that moves between groups,
// from several threads and the background's. A row's weights are what its gradients made of it, or as born: nothing else.
// Usage: stress_room [seconds] [seed].
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <unordered_map>

#include "store.hpp"
#include "stress_folder.hpp"

namespace {

using larix::Handle;
using larix::Keep;
using larix::Slot;
using larix::Store;

constexpr size_t kClients = 3;
constexpr size_t kTables = 3;  // of a client: one a group
constexpr size_t kDims[kTables] = {4, 8, 24};
constexpr int64_t kBudget = int64_t{6} << 20;
constexpr int64_t kTier = int64_t{4} << 20;  // more, where rows go to disk: what finds them there takes memory, too
constexpr float kFirst = 3.5f;  // no whole number: no row comes to weigh 0, as one that is not there reads
constexpr float kNothing = -5.0f;

void expect(bool good, const char* what) {
  if (good) return;
  std::fflush(stdout);
  std::fprintf(stderr, "stress_room: %s\n", what);
  std::abort();
}

class Client {
 public:
  Client(Store& store, bool tier, uint32_t number, uint64_t seed)
      : store_(store), tier_(tier), first_(kTables * number + 1), random_(seed + number) {}

  void run(std::chrono::steady_clock::time_point until) {
    for (uint32_t turn = 0; std::chrono::steady_clock::now() < until; ++turn) {
      const auto table = static_cast<uint32_t>(turn / 20 % kTables);  // each group in turn is the one that grows
      switch (random_() % 8) {
        case 0: look(table); break;
        case 1: remove(table); break;
        case 2: put(table); break;
        default: step(table);
      }
      // What a tier takes to find rows on disk is charged when it is known.
      expect(store_.counts().bytes <= (tier_ ? kBudget + 2 * kTier : kBudget), "the store is larger than its budget");
    }
    for (uint32_t table = 0; table < kTables; ++table) {
      expect(store_.keys(first_ + table).size() <= known_[table].size(), "there are rows of ids that were never met");
    }
  }

 private:
  int64_t any_id() { return static_cast<int64_t>(random_() % 60000 * larix::kGolden); }

  std::vector<int64_t> ids(size_t most) {
    std::vector<int64_t> ids(random_() % most);
    for (int64_t& id : ids) id = any_id();
    return ids;
  }

  Slot slot(uint32_t table, const std::vector<int64_t>& ids, float* data, Handle* handles) {
    return {.table = first_ + table, .ids = ids.data(), .count = ids.size(), .samples = ids.size(), .data = data,
            .stride = kDims[table], .width = kDims[table], .handles = handles};
  }

  void step(uint32_t table) {
    const std::vector<int64_t> met = ids(random_() % 4 ? 300 : 5000);
    const size_t dim = kDims[table];
    std::vector<float> data(met.size() * dim), clicks(met.size(), 1.0f);
    std::vector<Handle> handles(met.size());
    Slot one = slot(table, met, data.data(), handles.data());
    expect(store_.gather({&one, 1}, true) == 0, "memory is short for rows that could all be refused");
    for (size_t at = 0; at < met.size(); ++at) {
      float* row = data.data() + at * dim;
      for (size_t column = 1; column < dim; ++column) expect(row[column] == row[0], "a row is torn");
      if (!larix::has_row(handles[at])) {
        expect(row[0] == kNothing, "an id that was refused does not read the default");
      } else {
        const auto [found, fresh] = known_[table].try_emplace(met[at], kFirst);
        expect(row[0] == found->second || row[0] == kFirst, "a row is neither what it was nor as born");
        found->second = row[0];
      }
    }
    if (random_() % 8 == 0) step((table + 1) % kTables);  // its gradients come after others' births
    std::fill(data.begin(), data.end(), 1.0f);
    store_.apply({&one, 1}, 1.0, clicks.data());
    // A gradient may have met no row any more: then the row is as born when it is met again, or was met again already.
    for (size_t at = 0; at < met.size(); ++at) {
      if (larix::has_row(handles[at])) known_[table][met[at]] -= 1.0f;
    }
    std::vector<float> now(met.size() * dim);
    store_.read(first_ + table, met, now.data(), nullptr);
    for (size_t at = 0; at < met.size(); ++at) known_[table][met[at]] = now[at * dim] == 0.0f ? kFirst : now[at * dim];
  }

  void look(uint32_t table) {
    const std::vector<int64_t> met = ids(500);
    std::vector<float> data(met.size() * kDims[table]);
    std::vector<Handle> handles(met.size());
    const Slot one = slot(table, met, data.data(), handles.data());
    store_.gather({&one, 1}, false);
    for (size_t at = 0; at < met.size(); ++at) {
      const float weight = data[at * kDims[table]];
      const auto found = known_[table].find(met[at]);
      const bool fine = found != known_[table].end() && weight == found->second;
      expect(weight == kNothing || fine, "a row that was looked up is not what it was");
    }
  }

  void remove(uint32_t table) {
    const std::vector<int64_t> gone = ids(200);
    store_.remove(first_ + table, gone);
    for (const int64_t id : gone) known_[table].erase(id);
  }

  void put(uint32_t table) {
    const std::vector<int64_t> given = ids(100);
    const std::vector<float> weights(given.size() * kDims[table], 7.5f);
    expect(store_.put(first_ + table, given, weights.data(), nullptr) == 0, "a few rows found no room");
    for (const int64_t id : given) known_[table][id] = 7.5f;
  }

  Store& store_;
  bool tier_;
  uint32_t first_;
  std::mt19937_64 random_;
  std::unordered_map<int64_t, float> known_[kTables];
};

// ``folder``: where rows go instead of being evicted; "": nowhere.
void stress(int seconds, uint64_t seed, const std::string& folder) {
  const bool tier = !folder.empty();
  const larix::Optimizer sgd{.rule = larix::Rule::sgd, .lr = 1.0};
  std::vector<larix::GroupSpec> groups;
  for (const size_t dim : kDims) groups.push_back({dim, larix::Precision::fp32, sgd});
  std::vector<larix::TableSpec> tables;
  for (size_t client = 0; client < kClients; ++client) {
    for (size_t group = 0; group < kTables; ++group) {
      larix::TableSpec spec{.group = group, .birth = {larix::Init::constant, 0, kFirst}, .nothing = kNothing};
      spec.policy.keep = client == 0 ? Keep::recent : client == 1 ? Keep::score : Keep::live;
      spec.policy.pool = static_cast<uint32_t>(client);
      spec.policy.show = 0.25f;
      spec.policy.click = 1.0f;
      spec.policy.age = 400.0;
      spec.policy.fading.fill(0.999);
      if (group == 1) {
        spec.admission.kind = larix::Admission::Kind::count;
        spec.admission.least = 2;
        spec.admission.sketch = std::make_unique<larix::Sketch>(256, client, 4096);
      }
      tables.push_back(std::move(spec));
    }
  }
  Store store(groups, std::move(tables), 3, {.bytes = tier ? kBudget + kTier : kBudget, .background = seed % 2 == 1});
  if (tier) expect(store.open_tier(folder).ok(), "no tier");
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kClients; ++i) threads.emplace_back([&, i] { Client(store, tier, i, seed * 1000).run(until); });
  for (std::thread& thread : threads) thread.join();
  const larix::Counts counts = store.counts();
  std::printf("stress_room: %lld rows in %lld bytes, %lld born, %lld evicted, %lld refused, %lld lost\n",
              static_cast<long long>(counts.rows), static_cast<long long>(counts.bytes),
              static_cast<long long>(counts.inserted), static_cast<long long>(counts.evicted),
              static_cast<long long>(counts.refused), static_cast<long long>(counts.lost));
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  stress(seconds, seed, "");
  stress(seconds, seed, larix::stress::Folder().path());
}
