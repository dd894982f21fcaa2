// A block of zeroed memory straight from the system, on huge pages if it is large and the system has them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace larix {

inline constexpr size_t kHugePage = size_t{2} << 20;

enum class Pages { small, huge };

class Block {
 public:
  Block() = default;

  // Pages are given by the system on first touch. Throws std::bad_alloc.
  explicit Block(size_t bytes, Pages pages = Pages::huge) : bytes_(bytes) {
    const size_t slack = pages == Pages::huge && bytes >= kHugePage ? kHugePage : 0;  // so that a huge page can begin inside
    mapped_ = bytes + slack;
    void* mapping = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<char*>(mapping);
    const auto address = reinterpret_cast<uintptr_t>(mapping_);
    data_ = slack ? mapping_ + (kHugePage - address % kHugePage) % kHugePage : mapping_;
#ifdef MADV_HUGEPAGE
    if (slack) madvise(data_, bytes, MADV_HUGEPAGE);  // advice only: without huge pages all still works
#endif
  }

  Block(Block&& other) noexcept { swap(other); }
  Block& operator=(Block&& other) noexcept {
    swap(other);
    return *this;
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    if (mapping_) munmap(mapping_, mapped_);
  }

  // Gives the whole pages between two offsets back to the system; they read zeros from then on.
  void discard(size_t begin, size_t end) {
    constexpr size_t kPage = 4096;
    begin = (begin + kPage - 1) / kPage * kPage;
    end = end / kPage * kPage;
    if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
  }

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Block& other) {
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  char* mapping_ = nullptr;
  size_t mapped_ = 0;
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace larix
