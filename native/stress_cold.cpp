// Does to the tier on disk at random what a store does, and what disks do, and holds it to a map. Built for sanitizers,
// without Python; prints nothing but what goes wrong, and one line at the end. Usage: stress_cold [seconds] [seed].
#include <sys/resource.h>
#include <sys/syscall.h>

#include <csignal>

#include "crc.hpp"
#include "stress_cold.hpp"

namespace {

bool short_reads = false;  // pread gives less than it is asked for

}  // namespace

// In place of the system's: a read may always be short.
extern "C" ssize_t pread(int file, void* into, size_t bytes, off_t offset) {
  if (short_reads && bytes > 1) bytes = 1 + bytes / 3;
  return syscall(SYS_pread64, file, into, bytes, offset);
}

namespace {

using namespace larix::stress;
using larix::Cold;
using larix::ColdKey;
using larix::PageReader;
using larix::Status;

// A full disk, here a limit on the size of a file: nothing changes, and it goes on when there is room again.
void full_disk(const std::string& folder, uint64_t seed) {
  Oracle oracle(folder, 100, seed, true);
  oracle.fill(20000);
  const larix::ColdCounts before = oracle.cold().counts();
  rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit tight{4096 * 3 + 100, limit.rlim_max};
  std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  std::vector<ColdKey> keys;
  for (int64_t id = 1 << 20; id < (1 << 20) + 5000; ++id) keys.push_back({id, 1});
  const Status put = oracle.cold().put(keys, std::string(keys.size() * 100, 'x').data());
  expect(put.sentence().find("cannot write: File too large") != std::string::npos, "a full disk is not reported");
  bool more = true;
  bool refused = false;
  while (more) refused |= !oracle.cold().compact(1 << 20, more).ok();
  expect(refused, "compaction on a full disk is not reported");
  expect(oracle.cold().counts().rows == before.rows, "a full disk changed the rows");
  oracle.check_all();
  setrlimit(RLIMIT_FSIZE, &limit);
  oracle.put();
  for (more = true; more;) expect(oracle.cold().compact(1 << 20, more));
  expect(oracle.cold().counts().compacted > 0, "compaction is not tried again");
  oracle.check_all();
  expect(segments_in(folder).size() == static_cast<size_t>(oracle.cold().counts().segments), "files are left behind");
}

// Any flipped bit, and any cut, is found when its page is read, and named; nothing is taken then.
void damage(const std::string& folder, uint64_t seed) {
  std::mt19937_64 random(seed);
  Oracle oracle(folder, 100, seed, true);
  std::vector<ColdKey> keys;
  for (int64_t first = 0; first < 3000; first += 500) {
    std::vector<ColdKey> some;
    for (int64_t id = first; id < first + 500; ++id) some.push_back({id * id, 9});
    oracle.put(some);
    keys.insert(keys.end(), some.begin(), some.end());
  }
  std::string records(keys.size() * 100, 0);
  std::vector<uint8_t> found(keys.size());
  for (int round = 0; round < 60; ++round) {
    const auto paths = segments_in(folder);
    const std::string& path = paths[random() % paths.size()];
    const auto pages = (std::filesystem::file_size(path) - 48) / 4096;
    larix::File file(open(path.c_str(), O_RDWR), path);
    const uint64_t offset = random() % (pages * 4096);
    char byte;
    expect(file.read(&byte, 1, offset));
    const char flipped = static_cast<char>(byte ^ 1 << random() % 8);
    expect(file.write(&flipped, 1, offset));
    const std::string named = path + ": damaged: page " + std::to_string(offset / 4096) + " does not";
    const Status status = oracle.cold().take(keys, records.data(), found.data());
    expect(status.sentence().starts_with(named), "a flipped bit is not named");
    expect(oracle.cold().counts().rows == static_cast<int64_t>(keys.size()), "a read that failed took rows");
    PageReader reader;
    std::shared_ptr<larix::Segment> segment;
    larix::File again;
    expect(larix::File::open(path, again));
    expect(!larix::Segment::load(std::move(again), larix::PageLayout(100), segment).ok(), "a flipped bit is loaded");
    expect(file.write(&byte, 1, offset));
  }
  for (const std::string& path : segments_in(folder)) std::filesystem::resize_file(path, 4096 + 17);
  for (const bool cut : {false, true}) {
    short_reads = cut;
    const Status status = oracle.cold().take(keys, records.data(), found.data());
    expect(status.sentence().find("is cut short") != std::string::npos, "a file cut short is not named");
  }
  short_reads = false;
  bool more = true;
  bool refused = false;
  while (more) refused |= !oracle.cold().compact(1 << 20, more).ok();
  expect(refused, "compaction reads what is cut off");
}

// Two versions of a row may be on disk: the newer is read, the older goes when they are merged or the newer is taken.
void versions(const std::string& folder, uint64_t seed) {
  Oracle oracle(folder, 30, seed, false);
  std::vector<ColdKey> keys, once;
  for (int64_t id = 0; id < 1000; ++id) keys.push_back({-id, 5}), once.push_back({id, 6});
  Cold& cold = oracle.cold();
  const auto put = [&](const std::vector<ColdKey>& some, char version) {
    expect(cold.put(some, std::string(some.size() * 30, version).data()));
  };
  const auto read = [&](char version) {
    std::string records(keys.size() * 30, 0);
    std::vector<uint8_t> found(keys.size());
    expect(cold.read(keys, records.data(), found.data()));
    expect(records == std::string(records.size(), version), "an older version is read");
  };
  put(keys, 'a'), put(keys, 'b'), put(once, 'c'), put(keys, 'd');
  read('d');
  expect(cold.counts().rows == 4000, "versions do not count");
  for (bool more = true; more;) expect(cold.compact(3000, more));
  read('d');
  expect(cold.counts().rows == 2000, "older versions outlive a merge");
  put(keys, 'e');
  std::vector<uint8_t> found(keys.size());
  expect(cold.erase(keys, found.data()));
  expect(cold.counts().rows == 1000, "older versions outlive an erasure");
  expect(cold.erase(keys, found.data()));
  expect(std::count(found.begin(), found.end(), 0) == 1000, "erased rows are found");
}

// The kernel withdraws its ring: reads go on without it.
void lost_ring(const std::string& folder, uint64_t seed) {
  Oracle oracle(folder, 60, seed, true);
  oracle.fill(5000);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry.path(), error).string() != "anon_inode:[io_uring]") continue;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, std::atoi(entry.path().filename().c_str()));
    close(null);
  }
  oracle.ask(false);
  oracle.check(oracle.all_keys(), false);
  oracle.check(oracle.all_keys(), true);
}

// A million rows cost less than two bytes each.
void memory(const std::string& folder) {
  constexpr size_t rows = 1000000;
  PageReader reader;
  Cold cold(folder, 80, reader);
  expect(cold.open());
  const std::string records(65536 * 80, 'r');
  std::vector<ColdKey> keys;
  for (size_t at = 0; at < rows; ++at) {
    keys.push_back({static_cast<int64_t>(at), 1});
    if (keys.size() < 65536 && at + 1 < rows) continue;
    expect(cold.put(keys, records.data()));
    keys.clear();
  }
  expect(cold.memory() < 2 * rows, "rows on disk cost two bytes of memory or more");
  for (bool more = true; more;) {
    expect(cold.compact(1 << 20, more));
    expect(cold.memory() < 5 * rows, "rows that are being merged cost five bytes of memory or more");
  }
  expect(cold.memory() < 2 * rows, "merged rows on disk cost two bytes of memory or more");
  expect(cold.counts().rows == rows, "a million rows are not a million");
}

void checksum() {
  const char* digits = "123456789";
  expect(larix::crc32c(digits, 9) == 0xE3069283u, "not CRC32C");
  std::string text(1000, 0);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  for (size_t n = 0; n < 40; ++n) {
    const uint32_t whole = larix::crc32c(text.data(), 900 + n);
    expect(whole == ~larix::crc::by_table(~0u, text.data(), 900 + n), "the instruction and the table differ");
    expect(whole == larix::crc32c(text.data() + n, 900, larix::crc32c(text.data(), n)), "a checksum cannot go on");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::string folder = std::filesystem::temp_directory_path() / "stress_cold.XXXXXX";
  expect(mkdtemp(folder.data()) != nullptr, "no temporary folder");
  checksum();
  full_disk(folder + "/full", seed);
  damage(folder + "/damage", seed);
  versions(folder + "/versions", seed);
  lost_ring(folder + "/ring", seed);
  memory(folder + "/memory");
  int64_t rows = 0, compacted = 0;
  int turn = 0;
  for (const size_t record_bytes : {80, 1, 2100, 9000}) {
    short_reads = turn % 2;
    Oracle oracle(folder + "/" + std::to_string(record_bytes), record_bytes, seed + record_bytes, turn % 2 == 0);
    oracle.run(std::chrono::steady_clock::now() + std::chrono::milliseconds(250 * seconds));
    const larix::ColdCounts counts = oracle.cold().counts();
    rows += counts.spilled, compacted += counts.compacted;
    if (counts.segments) oracle.die();
    ++turn;
  }
  std::filesystem::remove_all(folder);
  std::printf("stress_cold: %lld rows spilled, %lld bytes compacted, all as foretold\n", static_cast<long long>(rows),
              static_cast<long long>(compacted));
}
