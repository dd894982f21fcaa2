// Memory that several processes read, each at an address of its own: a file that no folder has, filled by one of them, sealed,
// then opened by the others. It is gone when the last of them is, however they end. Knows nothing of what is in it.
//
// Sealed, it can neither be written to nor be cut short by anybody: who maps it need not fear for what it has checked, and
// one that nobody finished cannot be taken for whole.
#pragma once

#include <cstddef>
#include <functional>
#include <utility>

#include "file.hpp"
#include "status.hpp"

namespace larix {

class Image {
 public:
  Image() = default;
  Image(Image&& other) noexcept { swap(other); }
  Image& operator=(Image&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Image();

  // One of so many bytes, zeros until they are written. ``between``: called after some milliseconds of work each.
  static Status create(size_t bytes, Image& image, std::function<void()> between = [] {});
  // Copies bytes into it. Fails, and nothing else, if there is no room for them, or no memory.
  Status write(size_t offset, const void* data, size_t bytes);
  // Nothing is written from here on.
  Status seal();

  // One that is sealed, of which the caller keeps the descriptor. All of it is mapped at once, so that no reader has to wait.
  static Status open(int descriptor, Image& image);

  // To be read, from the beginning on; what is written shows.
  const char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool sealed() const { return sealed_; }
  // -1: there is no image.
  int descriptor() const { return file_.descriptor(); }

 private:
  Status write_some(size_t offset, const void* data, size_t bytes);
  void worked(size_t bytes);
  Status map(int protection, int flags, char*& data) const;
  void swap(Image& other) {
    std::swap(file_, other.file_);
    std::swap(data_, other.data_);
    std::swap(writable_, other.writable_);
    std::swap(bytes_, other.bytes_);
    std::swap(sealed_, other.sealed_);
    std::swap(between_, other.between_);
    std::swap(worked_, other.worked_);
  }

  File file_;
  char* data_ = nullptr;
  char* writable_ = nullptr;
  size_t bytes_ = 0;
  bool sealed_ = false;
  std::function<void()> between_;
  size_t worked_ = 0;  // bytes since it was called
};

}  // namespace larix
