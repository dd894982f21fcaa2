#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "snapshot.hpp"

namespace larix {

namespace {

constexpr size_t kEntry = 8;  // bytes before a row
constexpr size_t kPage = 4096;
constexpr size_t kChunk = size_t{16} << 10;

// Threads that change rows at once should not write to one counter; two of one lane take turns.
unsigned lane_of_thread() {
  static std::atomic<unsigned> next = 0;
  thread_local const unsigned lane = next.fetch_add(1, std::memory_order_relaxed) % Aside::kLanes;
  return lane;
}

int nameless_file(const std::string& folder) {
#ifdef O_TMPFILE
  const int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0) return file;
#endif
  std::string path = folder + "/.larix-aside-XXXXXX";
  const int named = mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) unlink(path.c_str());
  return named;
}

void write_head(char* to, uint32_t group, size_t length) {
  const auto bytes = static_cast<uint32_t>(length);
  std::memcpy(to, &group, 4);
  std::memcpy(to + 4, &bytes, 4);
}

void write_entry(char* to, uint32_t group, const char* row, size_t length) {
  write_head(to, group, length);
  std::memcpy(to + kEntry, row, length);
}

}  // namespace

// Four fifths for the two halves, a tenth each to write to the file and to read from it.
Aside::Aside(size_t bytes, std::string folder)
    : half_(bytes / 5 * 2 / 8 * 8),
      part_(bytes / 10),
      chunk_(std::min(kChunk, half_ / 16 / 8 * 8)),
      folder_(std::move(folder)) {
  for (Half& half : halves_) {
    half.block = Block(half_);
    // Here and now, or it would be those who change rows that wait for memory.
    for (size_t at = 0; at < half_; at += kPage) static_cast<volatile char*>(half.block.data())[at] = 0;
    half.full = half_;
  }
}

Aside::~Aside() {
  if (file_ >= 0) ::close(file_);
}

void Aside::put(uint32_t group, const char* row, size_t length) {
  Lane& lane = lanes_[lane_of_thread()];
  while (lane.busy.test_and_set(std::memory_order_acquire)) {
  }
  const size_t size = kEntry + length;
  const bool fits = static_cast<size_t>(lane.end - lane.at) >= size || reserve(lane, size);
  if (fits) {
    write_entry(lane.at, group, row, length);
    lane.at += size;
  }
  lane.busy.clear(std::memory_order_release);
  if (!fits) spill(group, row, length);
}

// Gives the lane another chunk, with room for ``size`` bytes.
bool Aside::reserve(Lane& lane, size_t size) {
  finish(lane);
  Half& half = halves_[active_];
  const size_t taken = std::max(size, chunk_);
  const size_t at = half.end.fetch_add(taken, std::memory_order_relaxed);
  if (at + taken <= half_) {
    lane.at = half.block.data() + at;
    lane.end = lane.at + taken;
    return true;
  }
  size_t full = half.full.load(std::memory_order_relaxed);
  while (at < full && !half.full.compare_exchange_weak(full, at, std::memory_order_relaxed)) {
  }
  return false;
}

// What is left of a chunk becomes an entry of no group.
void Aside::finish(Lane& lane) {
  if (lane.at != lane.end) write_head(lane.at, kNoGroup, static_cast<size_t>(lane.end - lane.at) - kEntry);
  lane.at = lane.end = nullptr;
}

double Aside::fill() const {
  return static_cast<double>(halves_[active_].end.load(std::memory_order_relaxed)) / static_cast<double>(half_);
}

std::span<const char> Aside::take() {
  for (Lane& lane : lanes_) finish(lane);
  Half& half = halves_[active_];
  const size_t filled = std::min(half.end.load(std::memory_order_relaxed), half.full.load(std::memory_order_relaxed));
  half.high = std::max(half.high, filled);
  active_ ^= 1;
  halves_[active_].end = 0;
  halves_[active_].full = half_;
  return {half.block.data(), filled};
}

size_t Aside::peak() const {
  size_t total = buffer_.capacity() + back_.capacity();
  for (const Half& half : halves_) total += std::max(half.high, std::min(half.end.load(std::memory_order_relaxed), half_));
  return total;
}

void Aside::spill(uint32_t group, const char* row, size_t length) {
  const std::lock_guard lock(spilling_);
  if (error_) return;
  if (file_ < 0 && (file_ = nameless_file(folder_)) < 0) {
    error_ = errno;
    return;
  }
  const size_t at = buffer_.size();
  if (at == 0) buffer_.reserve(std::max(part_, kEntry + length));
  if (at + kEntry + length > buffer_.capacity() && !flush()) return;
  longest_ = std::max(longest_, kEntry + length);
  buffer_.resize(buffer_.size() + kEntry + length);
  write_entry(buffer_.data() + buffer_.size() - kEntry - length, group, row, length);
}

bool Aside::flush() {
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t wrote = write(file_, buffer_.data() + done, buffer_.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      error_ = wrote < 0 ? errno : EIO;
      return false;
    }
    done += static_cast<size_t>(wrote);
    spilled_ += static_cast<size_t>(wrote);
  }
  buffer_.clear();
  return true;
}

std::span<const char> Aside::read_back() {
  if (file_ < 0 || error_ || (!buffer_.empty() && !flush())) return {};
  const size_t wanted = std::min(std::max(part_, longest_), spilled_ - read_);
  back_.resize(wanted);
  for (size_t done = 0; done < wanted;) {
    const ssize_t got = pread(file_, back_.data() + done, wanted - done, static_cast<off_t>(read_ + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      error_ = got < 0 ? errno : EIO;
      return {};
    }
    done += static_cast<size_t>(got);
  }
  // Whole entries alone: the rest is read again with what follows.
  size_t whole = 0;
  while (whole + kEntry <= wanted) {
    uint32_t length;
    std::memcpy(&length, back_.data() + whole + 4, 4);
    if (whole + kEntry + length > wanted) break;
    whole += kEntry + length;
  }
  read_ += whole;
  return {back_.data(), whole};
}

}  // namespace larix
