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

void write_entry(char* to, uint32_t group, const char* row, size_t length) {
  const auto bytes = static_cast<uint32_t>(length);
  std::memcpy(to, &group, 4);
  std::memcpy(to + 4, &bytes, 4);
  std::memcpy(to + kEntry, row, length);
}

}  // namespace

// Four fifths for the two halves, a tenth each to write to the file and to read from it.
Aside::Aside(size_t bytes, std::string folder)
    : half_(bytes / 5 * 2 / 8 * 8), part_(bytes / 10), folder_(std::move(folder)) {
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
  Half& half = halves_[active_];
  const size_t at = half.end.fetch_add(kEntry + length, std::memory_order_relaxed);
  if (at + kEntry + length <= half_) return write_entry(half.block.data() + at, group, row, length);
  size_t full = half.full.load(std::memory_order_relaxed);
  while (at < full && !half.full.compare_exchange_weak(full, at, std::memory_order_relaxed)) {
  }
  spill(group, row, length);
}

double Aside::fill() const {
  return static_cast<double>(halves_[active_].end.load(std::memory_order_relaxed)) / static_cast<double>(half_);
}

std::span<const char> Aside::take() {
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
