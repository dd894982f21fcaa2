// Feeds the segment reader anything: it must say what is wrong, or hold what it loaded. With clang's -fsanitize=fuzzer
// (and -DLARIX_LIBFUZZER) libFuzzer drives it; else main mutates a good segment. Usage: fuzz_segment [inputs] [seed].
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "cold.hpp"
#include "crc.hpp"

namespace {

constexpr size_t kRecord = 40;

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "fuzz_segment: %s\n", what);
  std::abort();
}

// A file in memory, kept from input to input.
int scratch() {
  static const int descriptor = memfd_create("segment", MFD_CLOEXEC);
  expect(descriptor >= 0, "no file in memory");
  return descriptor;
}

int64_t loaded = 0;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  expect(ftruncate(scratch(), 0) == 0, "cannot empty the file");
  larix::File file(dup(scratch()), "input");
  expect(file.write(reinterpret_cast<const char*>(data), size, 0).ok(), "cannot write the file");
  const larix::PageLayout layout(kRecord);
  std::shared_ptr<larix::Segment> segment;
  if (!larix::Segment::load(std::move(file), layout, segment).ok()) return 0;
  ++loaded;
  expect(segment->bytes() == size && segment->memory() < 64 * 1024 + size, "more memory than the file is worth");
  uint32_t rows = 0;
  const larix::Cold::Frozen frozen{segment, segment->dead()};
  const auto visit = [&](const larix::RowView& row) {
    std::vector<larix::Candidate> candidates;
    const larix::Sought sought{larix::segment_hash(row.id, row.table), 0};
    segment->locate({&sought, 1}, candidates);
    bool found = false;
    for (const larix::Candidate& candidate : candidates) found |= candidate.row == rows;
    expect(found, "a row that was loaded is not found");
    ++rows;
  };
  expect(larix::Cold::walk(frozen, 0, layout.pages(segment->rows()), visit).ok(), "a page that was loaded is not read");
  expect(rows == segment->rows(), "another number of rows than was loaded");
  return 0;
}

#ifndef LARIX_LIBFUZZER

namespace {

using Random = std::mt19937_64;

std::string good_segment(Random& random) {
  const larix::PageLayout layout(kRecord);
  std::vector<std::pair<uint64_t, int64_t>> rows;
  for (size_t n = 1 + random() % 250; n; --n) {
    const auto id = static_cast<int64_t>(random());
    rows.emplace_back(larix::segment_hash(id, 3), id);
  }
  std::sort(rows.begin(), rows.end());
  const std::string path = "/proc/self/fd/" + std::to_string(memfd_create("good", 0));
  std::unique_ptr<larix::SegmentWriter> writer;
  expect(larix::SegmentWriter::create(path, layout, {1, 1 + random() % 3}, rows.size(), writer).ok(), "no segment");
  for (const auto& [hash, id] : rows) {
    expect(writer->add(hash, id, 3, std::string(kRecord, static_cast<char>(id)).data()).ok(), "no row");
  }
  expect(writer->finish().ok(), "no end");
  std::string bytes(writer->segment()->bytes(), 0);
  expect(writer->segment()->file().read(bytes.data(), bytes.size(), 0).ok(), "cannot read it back");
  close(std::atoi(path.c_str() + 14));
  return bytes;
}

void put(std::string& bytes, size_t at, uint64_t value, size_t width) {
  if (at + width <= bytes.size()) std::memcpy(bytes.data() + at, &value, width);
}

// Makes all checksums right again, so that what lies behind them is reached.
void sign(std::string& bytes) {
  constexpr size_t footer = 48;
  if (bytes.size() < footer) return;
  const size_t end = bytes.size() - footer;
  const larix::PageLayout layout(kRecord);
  uint64_t place[3] = {};
  std::memcpy(place, bytes.data() + end + 24, 16);
  for (; (place[2] + 1) * layout.page_bytes <= end; ++place[2]) {
    const size_t at = place[2] * layout.page_bytes;
    put(bytes, at, larix::crc32c(bytes.data() + at + 4, layout.page_bytes - 4, larix::crc32c(place, sizeof place)), 4);
  }
  put(bytes, end + footer - 4, larix::crc32c(bytes.data() + end, footer - 4), 4);
}

std::string mutate(std::string bytes, Random& random) {
  for (size_t n = random() % 4; n; --n) {
    if (bytes.empty()) break;
    const size_t footer = bytes.size() < 48 ? 0 : bytes.size() - 48;
    const size_t at = random() % 2 ? footer + random() % (bytes.size() - footer) : random() % bytes.size();
    switch (random() % 6) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8); break;
      case 1: bytes[at] = static_cast<char>(random()); break;
      case 2: bytes.resize(at); break;
      case 3: bytes.insert(at, std::string(random() % 5000, static_cast<char>(random()))); break;
      case 4: bytes.erase(at, random() % 5000); break;
      default: put(bytes, at / 8 * 8, random() >> random() % 64, 8);
    }
  }
  if (random() % 2) sign(bytes);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t inputs = argc > 1 ? std::atoll(argv[1]) : 1000000;
  Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  std::string good;
  for (int64_t input = 0; input < inputs; ++input) {
    if (input % 1000 == 0) good = good_segment(random);
    const std::string bytes = mutate(good, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  expect(loaded > inputs / 100 && loaded < inputs, "the inputs are all good or all bad");
  std::printf("fuzz_segment: %lld inputs, %lld of them sound\n", static_cast<long long>(inputs),
              static_cast<long long>(loaded));
}

#endif
