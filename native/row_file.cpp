#include "row_file.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "crc.hpp"

namespace larix {

namespace {

constexpr size_t kTogether = size_t{1} << 20;  // bytes written at once

}  // namespace

PageReaders::Lease::Lease(const PageReaders& all) {
  static std::atomic<unsigned> threads{0};
  thread_local const unsigned mine = threads.fetch_add(1, std::memory_order_relaxed);  // where to look first
  for (unsigned i = 0; i < all.places_.size(); ++i) {
    Place& place = all.places_[(mine + i) % all.places_.size()];
    if (place.taken.test_and_set(std::memory_order_acquire)) continue;
    place_ = &place;
    if (!place.reader) place.reader = std::make_unique<PageReader>();
    reader_ = place.reader.get();
    return;
  }
  own_ = std::make_unique<PageReader>(false);
  reader_ = own_.get();
}

RowFile::RowFile(std::string folder, size_t row_bytes)
    : folder_(std::move(folder)), row_bytes_(row_bytes), process_(getpid()) {}

Status RowFile::open() {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return Status::system(folder_, "make the folder", error.value());
  std::string path = folder_ + "/rows-XXXXXX";
  const int descriptor = mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) return Status::system(folder_, "create a file", errno);
  file_ = File(descriptor, path);
  file_.remove();
  file_.expect_random_reads();
  return {};
}

// A forked child has a copy of what is known of the file, but the file is its parent's, who writes on.
Status RowFile::ours() const {
  if (process_ == getpid()) return {};
  return Status::error(folder_ + ": holds the rows of process " + std::to_string(process_) +
                       "; a forked process needs a replica of its own");
}

uint32_t RowFile::checksum(uint32_t row, const char* bytes) const {
  return crc32c(bytes, row_bytes_, crc32c(reinterpret_cast<const char*>(&row), sizeof row));
}

Status RowFile::write(uint32_t row, const char* bytes) {
  const size_t record = record_bytes();
  const size_t count = waiting_.size() / record;
  const bool near = !waiting_.empty() && row >= first_ && row - first_ <= count;
  if (!near || row - first_ == kTogether / record) {
    if (Status status = flush(); !status.ok()) return status;
    first_ = row;
  }
  const size_t at = (row - first_) * record;
  if (at == waiting_.size()) waiting_.resize(at + record);
  const uint32_t sum = checksum(row, bytes);
  std::memcpy(waiting_.data() + at, &sum, kHead);
  std::memcpy(waiting_.data() + at + kHead, bytes, row_bytes_);
  return {};
}

Status RowFile::flush() {
  if (waiting_.empty()) return {};
  if (Status status = ours(); !status.ok()) return status;
  const uint64_t offset = uint64_t{first_} * record_bytes();
  if (Status status = file_.write(waiting_.data(), waiting_.size(), offset); !status.ok()) return status;
  bytes_.store(std::max(bytes(), offset + waiting_.size()), std::memory_order_relaxed);
  waiting_.clear();
  return {};
}

Status RowFile::read(std::span<const Wanted> wanted, const PageReaders& readers) const {
  if (wanted.empty()) return {};
  if (Status status = ours(); !status.ok()) return status;
  std::vector<PageReader::Request> requests;
  requests.reserve(wanted.size());
  for (const Wanted& each : wanted) requests.push_back({file_.descriptor(), uint64_t{each.row} * record_bytes()});
  Status status;
  const PageReaders::Lease reader(readers);
  reader->read(requests, record_bytes(), [&](size_t at, const char* record, int error) {
    const Wanted& each = wanted[at];
    uint32_t sum;
    std::memcpy(&sum, record, kHead);
    if (error == 0 && sum == checksum(each.row, record + kHead)) {
      std::memcpy(each.into, record + kHead, row_bytes_);
    } else if (status.ok() && error > 0) {
      status = Status::system(file_.path(), "read", error);
    } else if (status.ok()) {
      const char* how = error ? ": damaged: it is cut short at row " : ": damaged: the checksum is wrong of row ";
      status = Status::error(file_.path() + how + std::to_string(each.row));
    }
  });
  return status;
}

}  // namespace larix
