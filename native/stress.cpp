// Hammers one store from several threads at random and checks every value that can be foretold. Built for sanitizers,
// without Python; prints nothing but what goes wrong, and one line at the end. Usage: stress [seconds] [seed].
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "store.hpp"
#include "stress_folder.hpp"

namespace {

using larix::Handle;
using larix::Pool;
using larix::Slot;
using larix::Store;

constexpr size_t kClients = 4;
constexpr int64_t kBudget = int64_t{24} << 20;  // with a tier
constexpr size_t kDim = 8;
constexpr size_t kOdd = 7;
constexpr float kNorm = 0.25f;
constexpr float kFirst = 3.0f;  // what every weight is born as

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "stress: %s\n", what);
  std::abort();
}

// One client has two tables to itself: a plain one whose weights are foretold (born 3, SGD with lr 1, whole numbers),
// and an odd one of another rule, precision and dim, whose weights stay within their norm. Plain tables of all clients
// share index and rows, all tables share threads.
class Client {
 public:
  Client(Store& store, bool tier, uint32_t number, uint64_t seed)
      : store_(store), tier_(tier), plain_(2 * number + 1), odd_(2 * number + 2), random_(seed + number) {}

  void run(std::chrono::steady_clock::time_point until) {
    while (std::chrono::steady_clock::now() < until) {
      switch (random_() % (tier_ ? 8 : 6)) {
        case 0: return_later(); break;
        case 1: remove(); break;
        case 2: put(); break;
        case 3: check(); break;
        case 6: spill(plain_); break;
        case 7: spill(odd_); break;
        default: step();
      }
    }
    check();
  }

 private:
  struct Step {
    std::vector<int64_t> ids, offsets;
    std::vector<float> weights, plain, odd;
    std::vector<uint16_t> halves;  // in place of plain, in some steps
    std::vector<Handle> handles;
    std::vector<Slot> slots;
    std::vector<uint64_t> births;  // of each id's row, to know whether it is still the same one
  };

  struct Row {
    float weight;
    uint64_t birth;
  };

  int64_t any_id() {
    constexpr int64_t extremes[] = {0, -1, INT64_MIN, INT64_MAX};
    const uint64_t draw = random_();
    return draw % 50 == 0 ? extremes[draw / 50 % 4] : static_cast<int64_t>(draw % 6000 * larix::kGolden);
  }

  // A gather over a pooled slot with weights, in bfloat16 or not, and a sequence slot, at times large enough to wake the
  // threads.
  Step gather() {
    Step step;
    const size_t samples = random_() % 3 == 0 ? 3000 : random_() % 40;
    step.offsets.push_back(0);
    for (size_t i = 0; i < samples; ++i) {
      for (size_t n = random_() % 4; n; --n) step.ids.push_back(any_id());
      step.offsets.push_back(static_cast<int64_t>(step.ids.size()));
    }
    const size_t count = step.ids.size();
    for (size_t i = 0; i < count; ++i) step.weights.push_back(static_cast<float>(random_() % 3));
    const bool half = random_() % 2;
    step.plain.assign(half ? 0 : samples * kDim, -1.0f);
    step.halves.assign(half ? samples * kDim : 0, 0xBF80);
    step.odd.assign(samples * 3 * kDim, -1.0f);
    step.handles.resize(2 * count);
    const Slot plain{.table = plain_, .pool = Pool::sum, .ids = step.ids.data(), .count = count,
                     .offsets = step.offsets.data(), .weights = step.weights.data(), .samples = samples,
                     .data = half ? nullptr : step.plain.data(), .halves = half ? step.halves.data() : nullptr,
                     .stride = kDim, .width = kDim, .handles = step.handles.data()};
    const Slot odd{.table = odd_, .pool = Pool::sequence, .ids = step.ids.data(), .count = count,
                   .offsets = step.offsets.data(), .samples = samples, .data = step.odd.data(), .stride = 3 * kDim,
                   .length = 3, .width = kDim, .handles = step.handles.data() + count};
    step.slots = {plain, odd};
    expect(plain.sound() && odd.sound(), "sound offsets are refused");
    store_.gather(step.slots, true);
    for (const int64_t id : step.ids) {
      step.births.push_back(rows_.try_emplace(id, Row{kFirst, ++births_}).first->second.birth);
    }
    for (size_t i = 0; i < samples; ++i) {
      float sum = 0.0f;
      for (auto at = static_cast<size_t>(step.offsets[i]); at < static_cast<size_t>(step.offsets[i + 1]); ++at) {
        sum += step.weights[at] * rows_.at(step.ids[at]).weight;
      }
      for (size_t c = i * kDim; c < (i + 1) * kDim; ++c) {
        const bool good = half ? step.halves[c] == larix::bf16_of(sum) : step.plain[c] == sum;
        expect(good, "a pooled vector is not the sum of its rows");
      }
    }
    return step;
  }

  void apply(Step& step) {
    for (float& grad : step.plain) grad = 1.0f;
    for (uint16_t& grad : step.halves) grad = larix::bf16_of(1.0f);
    for (float& grad : step.odd) grad = 0.5f;
    store_.apply(step.slots, 1.0, nullptr);
    for (size_t at = 0; at < step.ids.size(); ++at) {
      const auto found = rows_.find(step.ids[at]);
      if (found != rows_.end() && found->second.birth == step.births[at]) found->second.weight -= step.weights[at];
    }
  }

  void step() {
    Step now = gather();
    apply(now);
  }

  // Other steps, births and removals come between a gather and its apply.
  void return_later() {
    Step late = gather();
    remove();
    step();
    apply(late);
  }

  void remove() {
    std::vector<int64_t> ids;
    int64_t there = 0;
    for (size_t n = random_() % 300; n; --n) {
      ids.push_back(any_id());
      there += static_cast<int64_t>(rows_.erase(ids.back()));
    }
    expect(store_.remove(plain_, ids) == there, "remove took another number of rows than there were");
    store_.remove(odd_, ids);
  }

  void spill(uint32_t table) {
    std::vector<int64_t> ids;
    for (size_t n = random_() % 2000; n; --n) ids.push_back(any_id());
    larix::Status disk;
    store_.spill(table, ids, &disk);
    expect(disk.ok(), disk.sentence().c_str());
  }

  void put() {
    std::vector<int64_t> ids;
    for (size_t n = random_() % 100; n; --n) ids.push_back(any_id());
    const std::vector<float> weights(ids.size() * kDim, 7.0f);
    store_.put(plain_, ids, weights.data(), nullptr);
    for (const int64_t id : ids) rows_.try_emplace(id, Row{0.0f, ++births_}).first->second.weight = 7.0f;
  }

  void check() {
    expect(store_.rows(plain_) == static_cast<int64_t>(rows_.size()), "the number of rows is wrong");
    const std::vector<int64_t> keys = store_.keys(plain_);
    expect(keys.size() == rows_.size(), "the number of keys is wrong");
    std::vector<float> weights(keys.size() * kDim);
    store_.read(plain_, keys, weights.data(), nullptr);
    for (size_t i = 0; i < keys.size(); ++i) {
      const float expected = rows_.at(keys[i]).weight;
      const float* row = weights.data() + i * kDim;
      for (size_t c = 0; c < kDim; ++c) expect(row[c] == expected, "a weight is not what its gradients make it");
    }
    const std::vector<int64_t> others = store_.keys(odd_);
    weights.resize(others.size() * kOdd);
    store_.read(odd_, others, weights.data(), nullptr);
    for (size_t i = 0; i < others.size(); ++i) {
      float squares = 0.0f;
      for (size_t c = 0; c < kOdd; ++c) squares += weights[i * kOdd + c] * weights[i * kOdd + c];
      expect(squares <= kNorm * kNorm * 1.02f, "a row is longer than its norm and rounding allow");  // false for NaN
    }
  }

  Store& store_;
  bool tier_;
  uint32_t plain_, odd_;
  std::mt19937_64 random_;
  std::unordered_map<int64_t, Row> rows_;
  uint64_t births_ = 0;
};

// ``folder``: where rows go and come from meanwhile, by order and for want of memory; "": nowhere.
void stress(int seconds, uint64_t seed, const std::string& folder) {
  std::vector<larix::TableSpec> tables;
  for (size_t i = 0; i < kClients; ++i) {
    tables.push_back({.group = 0, .birth = {larix::Init::constant, 0, kFirst}});
    tables.push_back({.group = 1 + i, .birth = {larix::Init::uniform, i, 0.05f}});
  }
  const larix::Optimizer sgd{.rule = larix::Rule::sgd, .lr = 1.0};
  std::vector<larix::GroupSpec> groups = {{kDim, larix::Precision::fp32, sgd}};
  using larix::Precision, larix::Rule;
  for (const auto& [rule, precision] : {std::pair{Rule::adam, Precision::bf16}, std::pair{Rule::ftrl, Precision::fp16},
                                        std::pair{Rule::lamb, Precision::bf16}, std::pair{Rule::momentum, Precision::fp32}}) {
    const larix::Schedule schedule{.warmup = 100, .decay = larix::Decay::cosine, .steps = 10'000, .number = 0.1};
    groups.push_back({kOdd, precision, {.rule = rule, .lr = 0.01, .clip_grad = 1.0f, .max_norm = kNorm,
                                        .schedule = schedule}});
  }
  const bool tier = !folder.empty();
  for (size_t at = 0; at < tables.size() && tier; ++at) tables[at].policy.keep = larix::Keep::spilled;
  Store store(groups, std::move(tables), 3, {.bytes = tier ? kBudget : 0, .background = tier});
  if (tier) expect(store.open_tier(folder).ok(), "no tier");
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kClients; ++i) threads.emplace_back([&, i] { Client(store, tier, i, seed * 1000).run(until); });
  for (std::thread& thread : threads) thread.join();
  const larix::Counts counts = store.counts();
  const auto [cold, trouble] = store.cold_counts();
  expect(trouble.empty(), trouble.c_str());
  std::printf("stress: %lld rows, %lld lookups, %lld born, %lld lost, %lld spilled, %lld back, all as foretold\n",
              static_cast<long long>(counts.rows), static_cast<long long>(counts.lookups),
              static_cast<long long>(counts.inserted), static_cast<long long>(counts.lost),
              static_cast<long long>(cold.spilled), static_cast<long long>(cold.taken));
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  stress(seconds, seed, "");
  stress(seconds, seed, larix::stress::Folder().path());
}
