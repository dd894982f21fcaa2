// A replica and what each of its versions shows, its writer and its readers, for stress_replica.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "replica.hpp"

namespace larix::stress {

using Clock = std::chrono::steady_clock;

constexpr size_t kIds = 4096;        // that a table may have; the first, which it always has, tells the version
constexpr size_t kVersions = 3000;   // at most, of one replica
constexpr std::array<size_t, 3> kDims{8, 8, 5};
constexpr float kMissing = 3.0f;

inline void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "stress_replica: %s\n", what);
  std::abort();
}

inline void good(const Status& status) { expect(status.ok(), status.sentence().c_str()); }

inline int64_t id_of(size_t number) {
  constexpr int64_t extremes[] = {0, -1, INT64_MIN, INT64_MAX};
  return number < 4 ? extremes[number] : static_cast<int64_t>(number * kGolden);
}

// All weights of a row are the same: its level times a number that every format keeps as it is.
using Level = uint8_t;  // 0: no row
using State = std::array<std::array<Level, kIds>, kDims.size()>;
inline Level level_of(size_t version) { return static_cast<Level>(version % 200 + 1); }

struct World {
  World(Format format, const std::optional<Levels>& levels)
      : unit(format == Format::int8 || (levels && levels->int8) ? 127.0f : 1.0f),
        replica(format, {{kDims[0], 0.0f}, {kDims[1], kMissing}, {kDims[2], 0.0f}}, 2, levels),
        states(std::make_unique<std::array<State, kVersions>>()) {
    good(replica.open());
  }

  float value(size_t table, Level level) const {
    return level ? static_cast<float>(level) * unit : table == 1 ? kMissing : 0.0f;
  }

  const float unit;
  Replica replica;
  std::unique_ptr<std::array<State, kVersions>> states;  // by version, the first of which has no rows
  std::atomic<size_t> begun{0};      // the newest version that readers may see
  std::atomic<size_t> published{0};  // the newest that they must
};

// Shows version 1, in which every other id has a row, through memory that both share.
inline void begin_shared(World& frozen, World& mapped) {
  const Replica::Stamp stamp{1, 2, 3, 4};
  State& first = (*frozen.states)[1];
  for (uint32_t table = 1; table <= kDims.size(); ++table) {
    std::vector<int64_t> ids;
    for (size_t number = 0; number < kIds; number += 2) {
      ids.push_back(id_of(number));
      first[table - 1][number] = level_of(1);
    }
    const std::vector<float> weights(ids.size() * kDims[table - 1], static_cast<float>(level_of(1)) * frozen.unit);
    good(frozen.replica.put(table, ids, weights.data()));
  }
  good(frozen.replica.publish());
  good(frozen.replica.freeze(stamp));
  expect(!mapped.replica.adopt(frozen.replica.descriptor(), {}).ok(), "an image of something else was taken over");
  good(mapped.replica.adopt(frozen.replica.descriptor(), stamp));
  good(mapped.replica.publish());
  (*mapped.states)[1] = first;
  for (World* world : {&frozen, &mapped}) {
    world->begun.store(1);
    world->published.store(1);
  }
}

inline void write(World& world, uint64_t seed, Clock::time_point until) {
  std::mt19937_64 random(seed);
  size_t version = world.published.load();
  while (Clock::now() < until && version + 1 < kVersions) {
    State next = (*world.states)[version];
    const Level level = level_of(version + 1);
    const bool abandoned = random() % 5 == 0;
    if (random() % 10 == 0) {
      world.replica.clear();
      next = State{};
    }
    for (uint32_t table = 1; table <= kDims.size(); ++table) {
      auto& levels = next[table - 1];
      const size_t span = 16 << random() % 9;  // from a few to all
      for (int turn = 0; turn < 3; ++turn) {
        const bool puts = turn == 0 || random() % 2 == 0;
        std::vector<size_t> numbers;
        if (turn == 0) numbers.push_back(0);
        for (size_t n = random() % span; n; --n) numbers.push_back(1 + random() % (kIds - 1));
        std::vector<int64_t> ids;
        for (const size_t number : numbers) ids.push_back(id_of(number));
        if (puts) {
          const std::vector<float> weights(ids.size() * kDims[table - 1], static_cast<float>(level) * world.unit);
          good(world.replica.put(table, ids, weights.data()));
          for (const size_t number : numbers) levels[number] = level;
        } else {
          int64_t there = 0;
          for (const size_t number : numbers) there += std::exchange(levels[number], Level{0}) != 0;
          expect(world.replica.remove(table, ids) == there, "remove took another number of rows than there were");
        }
      }
    }
    if (abandoned) {
      world.replica.abandon();
      continue;
    }
    (*world.states)[++version] = next;
    world.begun.store(version);
    good(world.replica.publish());
    world.published.store(version);
    if (random() % 2) {  // rows change places: a version that shows the same
      size_t moved = 0;
      good(world.replica.adapt(1 + random() % 300, moved));
      if (random() % 8 == 0) {
        world.replica.abandon();
      } else if (moved) {
        good(world.replica.publish());
      }
    }
    for (size_t table = 0; table < kDims.size(); ++table) {
      int64_t rows = 0;
      for (const Level each : next[table]) rows += each != 0;
      expect(world.replica.rows(static_cast<uint32_t>(table + 1)) == rows, "the number of rows is wrong");
    }
  }
}

class Reader {
 public:
  Reader(const World& world, uint64_t seed) : world_(world), random_(seed) {}

  void run(Clock::time_point until) {
    while (Clock::now() < until) random_() % 50 == 0 ? check_keys() : check_gather();
  }

 private:
  // One call over all tables: a slot of one id a sample, the first of which tells the version, one of sums of several
  // with weights, and a sequence.
  void check_gather() {
    const size_t samples = random_() % 10 == 0 ? 1500 : 1 + random_() % 60;
    std::vector<size_t> single{0}, several, sequence;
    std::vector<int64_t> offsets{0};
    std::vector<float> weights;
    while (single.size() < samples) single.push_back(number());
    for (size_t i = 0; i < samples; ++i) {
      for (size_t n = random_() % 4; n; --n) {
        several.push_back(number());
        weights.push_back(static_cast<float>(random_() % 3));
      }
      offsets.push_back(static_cast<int64_t>(several.size()));
    }
    while (sequence.size() < several.size()) sequence.push_back(number());
    const auto ids0 = ids_of(single), ids1 = ids_of(several), ids2 = ids_of(sequence);
    std::vector<float> out0(samples * kDims[0], -1.0f), out1(samples * kDims[1], -1.0f);
    std::vector<float> out2(samples * 3 * kDims[2], -1.0f);
    const std::array<Slot, 3> slots{
        Slot{.table = 1, .ids = ids0.data(), .count = ids0.size(), .samples = samples, .data = out0.data(),
             .stride = kDims[0], .width = kDims[0]},
        Slot{.table = 2, .ids = ids1.data(), .count = ids1.size(), .offsets = offsets.data(),
             .weights = weights.data(), .samples = samples, .data = out1.data(), .stride = kDims[1], .width = kDims[1]},
        Slot{.table = 3, .pool = Pool::sequence, .ids = ids2.data(), .count = ids2.size(), .offsets = offsets.data(),
             .samples = samples, .data = out2.data(), .stride = 3 * kDims[2], .length = 3, .width = kDims[2]}};
    const size_t oldest = world_.published.load();
    std::array<int64_t, 3> missing{};
    {
      Replica::Reading reading(world_.replica);
      if (random_() % 2) {
        good(reading.gather(slots, missing.data()));
      } else {  // the same in several calls
        for (size_t i = 0; i < slots.size(); ++i) good(reading.gather({&slots[i], 1}, &missing[i]));
      }
    }
    const size_t newest = world_.begun.load();
    expect(newest - oldest < 200, "the writer is too far ahead to tell versions apart");
    size_t version = oldest;
    while (out0[0] != (version ? world_.value(0, level_of(version)) : 0.0f)) {
      expect(++version <= newest, "a call shows no version that was published");
    }
    const State& state = (*world_.states)[version];
    expect(missing[0] == without(state[0], single), "ids without a row are counted wrong");
    expect(missing[1] == without(state[1], several), "ids without a row of a sum are counted wrong");
    expect(missing[2] == without(state[2], sequence), "ids without a row of a sequence are counted wrong");
    for (size_t i = 0; i < samples; ++i) {
      const float one = world_.value(0, state[0][single[i]]);
      for (size_t c = 0; c < kDims[0]; ++c) expect(out0[i * kDims[0] + c] == one, "a row is not of its call's version");
      float sum = 0.0f;
      for (auto at = static_cast<size_t>(offsets[i]); at < static_cast<size_t>(offsets[i + 1]); ++at) {
        sum += weights[at] * world_.value(1, state[1][several[at]]);
        const float each = world_.value(2, state[2][sequence[at]]);
        const float* shown = out2.data() + (i * 3 + at - static_cast<size_t>(offsets[i])) * kDims[2];
        for (size_t c = 0; c < kDims[2]; ++c) expect(shown[c] == each, "a sequence's row is not of its call's version");
      }
      for (size_t c = 0; c < kDims[1]; ++c) expect(out1[i * kDims[1] + c] == sum, "a sum is not of its call's version");
    }
  }

  // Low ones more often.
  size_t number() { return random_() % (1 + random_() % kIds); }

  void check_keys() {
    const size_t oldest = world_.published.load();
    const std::vector<int64_t> keys = world_.replica.keys(2);
    if (world_.begun.load() != oldest) return;
    size_t rows = 0;
    for (const Level level : (*world_.states)[oldest][1]) rows += level != 0;
    expect(keys.size() == rows, "the number of keys is wrong");
  }

  static int64_t without(const std::array<Level, kIds>& levels, const std::vector<size_t>& numbers) {
    return std::count_if(numbers.begin(), numbers.end(), [&](size_t number) { return levels[number] == 0; });
  }

  static std::vector<int64_t> ids_of(const std::vector<size_t>& numbers) {
    std::vector<int64_t> ids;
    for (const size_t number : numbers) ids.push_back(id_of(number));
    return ids;
  }

  const World& world_;
  std::mt19937_64 random_;
};

}  // namespace larix::stress
