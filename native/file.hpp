// An open file that knows its name: reads and writes are whole or say why not.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "status.hpp"

namespace larix {

class File {
 public:
  File() = default;
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  File(File&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  // A new empty file, or an old one emptied.
  static Status create(const std::string& path, File& file) {
    return open(path, O_RDWR | O_CREAT | O_TRUNC, "create the file", file);
  }
  static Status open(const std::string& path, File& file) { return open(path, O_RDONLY, "open", file); }

  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }

  Status write(const char* data, size_t bytes, uint64_t offset) const {
    while (bytes) {
      const ssize_t done = pwrite(descriptor_, data, bytes, static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) return Status::system(path_, "write", done ? errno : ENOSPC);
      data += done, bytes -= static_cast<size_t>(done), offset += static_cast<uint64_t>(done);
    }
    return {};
  }

  Status read(char* data, size_t bytes, uint64_t offset) const {
    const int code = read(descriptor_, data, bytes, offset);
    if (code == kEndOfFile) return Status::error(path_ + ": damaged: it is cut short");
    return code ? Status::system(path_, "read", code) : Status();
  }

  // The same for a bare descriptor: 0, an errno, or kEndOfFile.
  static constexpr int kEndOfFile = -1;
  static int read(int descriptor, char* data, size_t bytes, uint64_t offset) {
    while (bytes) {
      const ssize_t done = pread(descriptor, data, bytes, static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return errno;
      if (done == 0) return kEndOfFile;
      data += done, bytes -= static_cast<size_t>(done), offset += static_cast<uint64_t>(done);
    }
    return 0;
  }

  Status size(uint64_t& bytes) const {
    struct stat about;
    if (fstat(descriptor_, &about)) return Status::system(path_, "look at", errno);
    bytes = static_cast<uint64_t>(about.st_size);
    return {};
  }

  Status sync() const { return fdatasync(descriptor_) ? Status::system(path_, "sync", errno) : Status(); }

  // Advice only: the system need not read pages ahead.
  void expect_random_reads() const { posix_fadvise(descriptor_, 0, 0, POSIX_FADV_RANDOM); }

  // Gives the file another name, in place of a file that had it.
  Status rename(const std::string& path) {
    if (std::rename(path_.c_str(), path.c_str())) return Status::system(path_, "rename", errno);
    path_ = path;
    return {};
  }

  // Takes the name away; the content stays until the last one who has it open closes it.
  void remove() const { unlink(path_.c_str()); }

 private:
  static Status open(const std::string& path, int flags, const char* doing, File& file) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (descriptor < 0) return Status::system(path, doing, errno);
    file = File(descriptor, path);
    return {};
  }

  int descriptor_ = -1;
  std::string path_;
};

}  // namespace larix
