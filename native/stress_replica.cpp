// Readers hammer one replica while its writer publishes, abandons, removes, grows and moves rows from level to level; every
// call must give exactly the rows of one published version, all tables and slots together, or say that the disk failed.
// Built for sanitizers, without Python; prints nothing but what goes wrong, and one line at the end. Usage: stress_replica
// [seconds] [seed].
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "replica.hpp"
#include "stress_folder.hpp"

namespace {

using larix::Format;
using larix::Levels;
using larix::Pool;
using larix::Replica;
using larix::Slot;
using larix::Status;
using Clock = std::chrono::steady_clock;

constexpr size_t kReaders = 3;
constexpr size_t kIds = 4096;        // that a table may have; the first, which it always has, tells the version
constexpr size_t kVersions = 3000;   // at most, of one replica
constexpr std::array<size_t, 3> kDims{8, 8, 5};
constexpr float kMissing = 3.0f;

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "stress_replica: %s\n", what);
  std::abort();
}

void good(const Status& status) { expect(status.ok(), status.sentence().c_str()); }

int64_t id_of(size_t number) {
  constexpr int64_t extremes[] = {0, -1, INT64_MIN, INT64_MAX};
  return number < 4 ? extremes[number] : static_cast<int64_t>(number * larix::kGolden);
}

// All weights of a row are the same: its level times a number that every format keeps as it is.
using Level = uint8_t;  // 0: no row
using State = std::array<std::array<Level, kIds>, kDims.size()>;
Level level_of(size_t version) { return static_cast<Level>(version % 200 + 1); }

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

void write(World& world, uint64_t seed, Clock::time_point until) {
  std::mt19937_64 random(seed);
  size_t version = 0;
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

// More readers at once than there are slots at first: none waits, and the writer hears of all.
void crowd() {
  larix::Epochs epochs;
  std::vector<std::unique_ptr<larix::Epochs::Stay>> stays;
  for (int i = 0; i < 300; ++i) stays.push_back(std::make_unique<larix::Epochs::Stay>(epochs));
  std::atomic<bool> over{false};
  std::thread writer([&] {
    epochs.wait();
    over.store(true);
  });
  while (stays.size() > 1) stays.pop_back();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  expect(!over.load(), "the writer did not wait for a reader");
  const larix::Epochs::Stay late(epochs);  // came after: the writer does not wait for it
  stays.clear();
  writer.join();
}

// The one file that is open in a folder, which has no name there.
int file_in(const std::string& folder) {
  int found = -1;
  DIR* const open = opendir("/proc/self/fd");
  for (const dirent* entry; (entry = readdir(open));) {
    char path[4096];
    const ssize_t length = readlink(("/proc/self/fd/" + std::string(entry->d_name)).c_str(), path, sizeof path);
    if (length > 0 && std::string(path, static_cast<size_t>(length)).starts_with(folder + "/")) found = std::atoi(entry->d_name);
  }
  closedir(open);
  expect(found >= 0, "there is no file of cold rows");
  return found;
}

// The file of cold rows is cut short, overwritten and made whole again under readers, and cannot be written for a while:
// they get what was put, or an error that names the file; the writer gets errors, and nothing it tried is seen.
size_t fail(int milliseconds, uint64_t seed) {
  const larix::stress::Folder folder;
  constexpr size_t kDim = 8, kRows = 2000;
  Replica replica(Format::fp32, {{kDim, 0.0f}}, 1, Levels{folder.path(), 100 * kDim * sizeof(float), false});
  good(replica.open());
  std::vector<int64_t> ids(kRows);
  std::vector<float> weights(kRows * kDim);
  for (size_t i = 0; i < kRows; ++i) {
    ids[i] = static_cast<int64_t>(i);
    for (size_t c = 0; c < kDim; ++c) weights[i * kDim + c] = static_cast<float>(i + c);
  }
  good(replica.put(1, ids, weights.data()));
  good(replica.publish());
  const int file = file_in(folder.path());
  std::vector<char> content(kRows * (kDim * sizeof(float) + 4));
  const auto bytes = static_cast<size_t>(pread(file, content.data(), content.size(), 0));

  std::atomic<bool> over{false}, sound{true};
  std::atomic<size_t> failed{0}, rounds{0};
  const auto read = [&](uint64_t mine) {
    std::mt19937_64 random(mine);
    std::vector<float> out(300 * kDim);
    while (!over.load()) {
      const bool before = sound.load();
      const size_t round = rounds.load(), first = random() % (kRows - 300);
      const Slot slot{.table = 1, .ids = ids.data() + first, .count = 300, .samples = 300, .data = out.data(),
                      .stride = kDim, .width = kDim};
      const Status status = Replica::Reading(replica).gather({&slot, 1});
      if (status.ok()) {
        expect(std::equal(out.begin(), out.end(), weights.begin() + static_cast<ptrdiff_t>(first * kDim)),
               "a call that was good shows what was never put");
      } else {
        expect(!(before && sound.load() && round == rounds.load()), "a sound disk gave an error");
        expect(status.sentence().starts_with(folder.path()), "an error does not name its file");
        failed.fetch_add(1);
      }
    }
  };
  std::vector<std::thread> readers;
  for (size_t i = 0; i < kReaders; ++i) readers.emplace_back(read, seed * 100 + i);
  std::signal(SIGXFSZ, SIG_IGN);
  std::mt19937_64 random(seed);
  const auto until = Clock::now() + std::chrono::milliseconds(milliseconds);
  while (Clock::now() < until || failed.load() == 0) {
    sound.store(false);
    const auto cut = static_cast<off_t>(random() % bytes);
    if (random() % 2) {
      expect(ftruncate(file, cut) == 0, "the file could not be cut");
    } else {
      const std::vector<char> noise(std::min<size_t>(4096, bytes - static_cast<size_t>(cut)), '\x5A');
      expect(pwrite(file, noise.data(), noise.size(), cut) >= 0, "the file could not be damaged");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + random() % 3));
    expect(pwrite(file, content.data(), bytes, 0) == static_cast<ssize_t>(bytes), "the file could not be mended");
    rounds.fetch_add(1);
    sound.store(true);
    rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit none{1, limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
    const std::vector<float> others(kRows * kDim, -1.0f);
    const Status put = replica.put(1, ids, others.data());
    expect(!(put.ok() && replica.publish().ok()), "a disk that is full took rows");
    setrlimit(RLIMIT_FSIZE, &limit);
    replica.abandon();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  over.store(true);
  for (std::thread& reader : readers) reader.join();
  return failed.load();
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  crowd();
  size_t versions = 0;
  long long lookups = 0;
  const larix::stress::Folder folder;
  const Levels int8{folder.path(), 20'000, true}, disk{folder.path(), 20'000, false};
  const std::pair<Format, std::optional<Levels>> kinds[] = {
      {Format::fp32, {}}, {Format::bf16, {}}, {Format::fp16, {}}, {Format::int8, {}},
      {Format::fp32, int8}, {Format::fp16, disk}, {Format::int8, disk}};
  int64_t moved = 0;
  for (const auto& [format, levels] : kinds) {
    World world(format, levels);
    const auto until = Clock::now() + std::chrono::milliseconds(seconds * 1000 / 8);
    std::vector<std::thread> readers;
    for (size_t i = 0; i < kReaders; ++i) {
      readers.emplace_back([&, i] { Reader(world, seed * 1000 + i + 1).run(until); });
    }
    write(world, seed, until);
    for (std::thread& reader : readers) reader.join();
    versions += world.published.load();
    const larix::ReplicaCounts counts = world.replica.counts();
    lookups += counts.lookups;
    moved += counts.promoted + counts.demoted;
    expect(counts.hot_bytes <= 20'000, "hot rows take more than they may");
    expect(!levels || counts.promoted > 0, "no row has moved");
  }
  const size_t failed = fail(seconds * 1000 / 8, seed);
  std::printf("stress_replica: %zu versions, %lld lookups, %lld rows moved, %zu failed reads; each call one version\n", versions,
              lookups, static_cast<long long>(moved), failed);
}
