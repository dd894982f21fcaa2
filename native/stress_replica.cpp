// Readers hammer one replica while its writer publishes, abandons, removes, grows and moves rows from level to level; every
// call must give exactly the rows of one published version, all tables and slots together, or say that the disk failed. So
// must calls of two replicas that began with the same memory, each with a writer of its own.
// Built for sanitizers, without Python; prints nothing but what goes wrong, and one line at the end. Usage: stress_replica
// [seconds] [seed].
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "stress_folder.hpp"
#include "stress_replica.hpp"

namespace {

using namespace larix::stress;
using larix::Format;
using larix::Levels;
using larix::Replica;
using larix::Slot;
using larix::Status;

constexpr size_t kReaders = 3;

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

// Readers and a writer of each of some worlds at once.
void run(std::initializer_list<World*> worlds, uint64_t seed, Clock::time_point until) {
  std::vector<std::thread> threads;
  for (World* world : worlds) {
    for (size_t i = 0; i < kReaders; ++i) {
      threads.emplace_back([=] { Reader(*world, seed * 1000 + i + 1).run(until); });
    }
    threads.emplace_back([=] { write(*world, seed, until); });
    ++seed;
  }
  for (std::thread& thread : threads) thread.join();
}

// Of an image that has no room for all rows: those that it has and those that it has not read as before, and new ones do.
void half_frozen() {
  larix::ReplicaRows rows(64);
  std::vector<uint32_t> taken;
  const auto fill = [&](uint32_t row) { std::memset(rows.at(row), static_cast<int>(row % 251), rows.stride()); };
  for (int i = 0; i < 1'200'000; ++i) fill(taken.emplace_back(rows.take()));
  rows.give_back(taken.back());
  taken.pop_back();
  larix::Image image;
  good(larix::Image::create(size_t{40} << 20, image));
  expect(!rows.freeze(image, 4096).ok(), "an image took more than it has room for");
  for (int i = 0; i < 1'200'000; ++i) fill(taken.emplace_back(rows.take()));
  rows.give_back(taken.front());
  for (const uint32_t row : taken) {
    for (size_t i = 0; i < 64; ++i) expect(rows.at(row)[i] == static_cast<char>(row % 251), "a row has changed");
  }
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
  half_frozen();
  size_t versions = 0;
  long long lookups = 0;
  const larix::stress::Folder folder;
  const Levels int8{folder.path(), 20'000, true}, disk{folder.path(), 20'000, false};
  const std::pair<Format, std::optional<Levels>> kinds[] = {
      {Format::fp32, {}}, {Format::bf16, {}}, {Format::fp16, {}}, {Format::int8, {}},
      {Format::fp32, int8}, {Format::fp16, disk}, {Format::int8, disk}};
  int64_t moved = 0;
  const auto count = [&](const World& world) {
    versions += world.published.load();
    lookups += world.replica.counts().lookups;
  };
  for (const auto& [format, levels] : kinds) {
    World world(format, levels);
    const auto until = Clock::now() + std::chrono::milliseconds(seconds * 1000 / 12);
    run({&world}, seed, until);
    count(world);
    const larix::ReplicaCounts counts = world.replica.counts();
    moved += counts.promoted + counts.demoted;
    expect(counts.hot_bytes <= 20'000, "hot rows take more than they may");
    expect(!levels || counts.promoted > 0, "no row has moved");
  }
  for (const Format format : {Format::fp32, Format::bf16, Format::fp16, Format::int8}) {
    auto frozen = std::make_unique<World>(format, std::nullopt);
    World mapped(format, {});
    begin_shared(*frozen, mapped);
    run({frozen.get(), &mapped}, seed, Clock::now() + std::chrono::milliseconds(seconds * 1000 / 24));
    count(*frozen);
    frozen.reset();  // who made it goes, and it stays
    run({&mapped}, seed + 7, Clock::now() + std::chrono::milliseconds(seconds * 1000 / 24));
    count(mapped);
  }
  const size_t failed = fail(seconds * 1000 / 12, seed);
  std::printf("stress_replica: %zu versions, %lld lookups, %lld rows moved, %zu failed reads; each call one version\n", versions,
              lookups, static_cast<long long>(moved), failed);
}
