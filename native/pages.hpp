// Reads many pages of files at once: all under way together by io_uring where the kernel has it, else one after the other.
// One caller at a time. Knows nothing of what pages hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "memory.hpp"

namespace larix {

class Ring;

class PageReader {
 public:
  struct Request {
    int descriptor;
    uint64_t offset;
  };
  // Called once a request, in any order. ``error``: 0, an errno, or File::kEndOfFile; ``page`` is good until it returns.
  using Done = std::function<void(size_t request, const char* page, int error)>;

  // ``ring`` false: without io_uring even if the kernel has it.
  explicit PageReader(bool ring = true);
  ~PageReader();

  // Reads ``bytes`` at each request's offset.
  void read(std::span<const Request> requests, size_t bytes, const Done& done);

  bool has_ring() const { return ring_ != nullptr; }
  size_t memory() const { return buffer_.bytes(); }

 private:
  void read_by_ring(std::span<const Request> requests, size_t bytes, const Done& done);
  void read_without(std::span<const Request> requests, size_t bytes, const Done& done, const std::vector<bool>& over);
  void read_one(const Request& request, size_t at, size_t bytes, const Done& done);

  std::unique_ptr<Ring> ring_;
  int process_;  // a forked child must not use its parent's ring
  Block buffer_;
  Block abandoned_;  // a buffer that the kernel may still write to
};

}  // namespace larix
