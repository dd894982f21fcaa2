#include "replica_image.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "memory.hpp"

namespace larix {

namespace {

const char* const kName = "memory to share";  // there is no path to tell

#ifdef __linux__
constexpr size_t kPage = 4096;
constexpr size_t kSome = size_t{4} << 20;  // whole huge pages
constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

// Since Linux 5.14 and 6.1; headers may be older than the kernel.
constexpr int kPopulateRead = 22, kPopulateWrite = 23, kCollapse = 25;

size_t rounded_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
#endif

}  // namespace

Image::~Image() {
  if (data_) munmap(data_, bytes_);
  if (writable_) munmap(writable_, bytes_);
}

#ifdef __linux__

// Begins where a huge page can.
Status Image::map(int protection, int flags, char*& data) const {
  const size_t whole = bytes_ + kHugePage;
  void* const room = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return Status::system(kName, "map", errno);
  char* const first = static_cast<char*>(room);
  char* const at = first + (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage;
  if (mmap(at, bytes_, protection, flags | MAP_FIXED, descriptor(), 0) == MAP_FAILED) {
    const int code = errno;
    munmap(room, whole);
    return Status::system(kName, "map", code);
  }
  if (at != first) munmap(first, static_cast<size_t>(at - first));
  char* const end = at + rounded_up(bytes_, kPage);
  if (end < first + whole) munmap(end, static_cast<size_t>(first + whole - end));
  data = at;
  return {};
}

Status Image::create(size_t bytes, Image& image, std::function<void()> between) {
  Image made;
  made.between_ = std::move(between);
  const int descriptor = memfd_create("larix-rows", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return Status::system(kName, "make", errno);
  made.file_ = File(descriptor, kName);
  made.bytes_ = rounded_up(std::max(bytes, size_t{1}), bytes < kHugePage ? kPage : kHugePage);
  if (ftruncate(descriptor, static_cast<off_t>(made.bytes_))) return Status::system(kName, "make", errno);
  if (Status status = made.map(PROT_READ | PROT_WRITE, MAP_SHARED, made.writable_); !status.ok()) return status;
  if (Status status = made.map(PROT_READ, MAP_PRIVATE, made.data_); !status.ok()) return status;
  madvise(made.writable_, made.bytes_, MADV_HUGEPAGE);  // advice only
  image = std::move(made);
  return {};
}

void Image::worked(size_t bytes) {
  if ((worked_ += bytes) < kSome) return;
  worked_ = 0;
  between_();
}

Status Image::write(size_t offset, const void* data, size_t bytes) {
  if (bytes > bytes_ || offset > bytes_ - bytes) return Status::system(kName, "write", ENOSPC);
  Status status;
  for (size_t done = 0; done < bytes && status.ok(); done += kSome) {
    const size_t some = std::min(kSome, bytes - done);
    status = write_some(offset + done, static_cast<const char*>(data) + done, some);
    worked(some);
  }
  return status;
}

Status Image::write_some(size_t offset, const void* data, size_t bytes) {
  // A page that cannot be had is to be an error, not a signal.
  const size_t first = offset / kPage * kPage, end = std::min(rounded_up(offset + bytes, kPage), bytes_);
  int code = madvise(writable_ + first, end - first, kPopulateWrite) ? errno : 0;
  if (code == EINVAL) {  // an older kernel
    code = fallocate(descriptor(), 0, static_cast<off_t>(first), static_cast<off_t>(end - first)) ? errno : 0;
  }
  if (code) return Status::system(kName, "write", code == EFAULT ? ENOMEM : code);
  std::memcpy(writable_ + offset, data, bytes);
  return {};
}

Status Image::seal() {
  // By default the system has no huge pages for files without being asked again. Without them, all still works.
  for (size_t at = 0; at < bytes_; at += kSome) {
    madvise(writable_ + at, std::min(kSome, bytes_ - at), kCollapse);
    worked(kSome);
  }
  between_ = nullptr;
  munmap(std::exchange(writable_, nullptr), bytes_);
  if (fcntl(descriptor(), F_ADD_SEALS, kSeals | F_SEAL_SEAL)) return Status::system(kName, "seal", errno);
  sealed_ = true;
  madvise(data_, bytes_, kPopulateRead);
  return {};
}

Status Image::open(int descriptor, Image& image) {
  Image found;
  const int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return Status::system(kName, "open", errno);
  found.file_ = File(own, kName);
  const int seals = fcntl(own, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) return Status::error("it is no image: whoever made it could still change it");
  uint64_t bytes = 0;
  if (Status status = found.file_.size(bytes); !status.ok()) return status;
  if (bytes == 0) return Status::error("it is no image: it is empty");
  found.bytes_ = bytes;
  if (Status status = found.map(PROT_READ, MAP_PRIVATE, found.data_); !status.ok()) return status;
  found.sealed_ = true;
  madvise(found.data_, bytes, kPopulateRead);
  image = std::move(found);
  return {};
}

#else

Status Image::map(int, int, char*&) const { return Status::error("this system has no memory to share"); }
Status Image::create(size_t, Image&, std::function<void()>) { return Status::error("this system has no memory to share"); }
Status Image::write(size_t, const void*, size_t) { return {}; }
Status Image::seal() { return {}; }
Status Image::open(int, Image&) { return Status::error("this system has no memory to share"); }

#endif

}  // namespace larix
