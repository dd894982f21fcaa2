#include "pages.hpp"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "file.hpp"

namespace larix {

namespace {

constexpr unsigned kDepth = 128;  // reads under way at once

}  // namespace

// The part of io_uring that reads need, by its system calls: queue reads, submit them, take their results.
class Ring {
 public:
  static std::unique_ptr<Ring> open() {
    io_uring_params about{};
    const auto descriptor = static_cast<int>(syscall(__NR_io_uring_setup, kDepth, &about));
    if (descriptor < 0) return nullptr;
    std::unique_ptr<Ring> ring(new Ring(descriptor));
    // The second feature came with Linux 5.6, as IORING_OP_READ did.
    constexpr unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_RW_CUR_POS;
    return (about.features & needed) == needed && ring->map(about) ? std::move(ring) : nullptr;
  }

  ~Ring() {
    if (rings_) munmap(rings_, rings_bytes_);
    if (entries_) munmap(entries_, entries_bytes_);
    close(descriptor_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // At most kDepth may be queued and not yet taken.
  void queue(const PageReader::Request& request, char* into, size_t bytes, uint64_t tag) {
    io_uring_sqe& entry = static_cast<io_uring_sqe*>(entries_)[tail_ & mask_];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_READ;
    entry.fd = request.descriptor;
    entry.off = request.offset;
    entry.addr = reinterpret_cast<uint64_t>(into);
    entry.len = static_cast<uint32_t>(bytes);
    entry.user_data = tag;
    numbers_[tail_ & mask_] = tail_ & mask_;
    ++tail_;
  }

  // Hands over what is queued and waits for a result; false if the kernel refuses for good.
  bool submit() {
    std::atomic_ref(*submit_tail_).store(tail_, std::memory_order_release);
    for (;;) {
      const unsigned waiting = tail_ - std::atomic_ref(*submit_head_).load(std::memory_order_acquire);
      const long done = syscall(__NR_io_uring_enter, descriptor_, waiting, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
      if (done >= 0) return true;
      if (errno != EINTR && errno != EAGAIN && errno != EBUSY) return false;
      if (std::atomic_ref(*done_tail_).load(std::memory_order_acquire) != *done_head_) return true;
    }
  }

  // Calls take(tag, result) for every result that is there.
  template <class Take>
  void take(Take&& take) {
    const unsigned end = std::atomic_ref(*done_tail_).load(std::memory_order_acquire);
    for (unsigned at = *done_head_; at != end;) {
      const io_uring_cqe result = results_[at & done_mask_];
      std::atomic_ref(*done_head_).store(++at, std::memory_order_release);
      take(result.user_data, result.res);
    }
  }

 private:
  explicit Ring(int descriptor) : descriptor_(descriptor) {}

  bool map(const io_uring_params& about) {
    rings_bytes_ = std::max<size_t>(about.sq_off.array + about.sq_entries * sizeof(unsigned),
                                    about.cq_off.cqes + about.cq_entries * sizeof(io_uring_cqe));
    entries_bytes_ = about.sq_entries * sizeof(io_uring_sqe);
    rings_ = share(rings_bytes_, IORING_OFF_SQ_RING);
    entries_ = share(entries_bytes_, IORING_OFF_SQES);
    if (!rings_ || !entries_) return false;
    const auto word = [&](unsigned offset) { return reinterpret_cast<unsigned*>(static_cast<char*>(rings_) + offset); };
    submit_head_ = word(about.sq_off.head);
    submit_tail_ = word(about.sq_off.tail);
    mask_ = *word(about.sq_off.ring_mask);
    numbers_ = word(about.sq_off.array);
    done_head_ = word(about.cq_off.head);
    done_tail_ = word(about.cq_off.tail);
    done_mask_ = *word(about.cq_off.ring_mask);
    results_ = reinterpret_cast<const io_uring_cqe*>(word(about.cq_off.cqes));
    tail_ = *submit_tail_;
    return true;
  }

  void* share(size_t bytes, off_t what) const {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor_, what);
    return at == MAP_FAILED ? nullptr : at;
  }

  int descriptor_;
  void* rings_ = nullptr;
  void* entries_ = nullptr;
  size_t rings_bytes_ = 0, entries_bytes_ = 0;
  unsigned *submit_head_ = nullptr, *submit_tail_ = nullptr, *numbers_ = nullptr;
  unsigned *done_head_ = nullptr, *done_tail_ = nullptr;
  const io_uring_cqe* results_ = nullptr;
  unsigned mask_ = 0, done_mask_ = 0;
  unsigned tail_ = 0;
};

PageReader::PageReader(bool ring) : ring_(ring ? Ring::open() : nullptr), process_(getpid()) {}

PageReader::~PageReader() = default;

void PageReader::read(std::span<const Request> requests, size_t bytes, const Done& done) {
  if (requests.empty()) return;
  const size_t depth = ring_ ? kDepth : 1;
  if (buffer_.bytes() < depth * bytes) buffer_ = Block(depth * bytes);
  if (ring_ && process_ == getpid()) return read_by_ring(requests, bytes, done);
  for (size_t at = 0; at < requests.size(); ++at) read_one(requests[at], at, bytes, done);
}

void PageReader::read_by_ring(std::span<const Request> requests, size_t bytes, const Done& done) {
  std::vector<unsigned> free(kDepth);
  for (unsigned i = 0; i < kDepth; ++i) free[i] = kDepth - 1 - i;
  std::vector<size_t> reading(kDepth);  // by place in the buffer
  std::vector<bool> over(requests.size());
  for (size_t next = 0, finished = 0; finished < requests.size();) {
    for (; next < requests.size() && !free.empty(); ++next) {
      const unsigned place = free.back();
      free.pop_back();
      reading[place] = next;
      ring_->queue(requests[next], buffer_.data() + place * bytes, bytes, place);
    }
    if (!ring_->submit()) return read_without(requests, bytes, done, over);
    ring_->take([&](uint64_t tag, int result) {
      const auto place = static_cast<unsigned>(tag);
      char* page = buffer_.data() + place * bytes;
      const Request& request = requests[reading[place]];
      int error = 0;
      if (result == -EINTR || result == -EAGAIN) result = 0;
      if (result < 0) {
        error = -result;
      } else if (const auto got = static_cast<size_t>(result); got < bytes) {  // the rest, or the end of the file
        error = File::read(request.descriptor, page + got, bytes - got, request.offset + got);
      }
      over[reading[place]] = true;
      done(reading[place], page, error);
      free.push_back(place);
      ++finished;
    });
  }
}

// The kernel takes no more: what is left is read one by one, now and in all calls to come. What it still has under way
// may be written into the old buffer at any time.
void PageReader::read_without(std::span<const Request> requests, size_t bytes, const Done& done,
                              const std::vector<bool>& over) {
  abandoned_ = std::exchange(buffer_, Block(bytes));
  ring_.reset();
  for (size_t at = 0; at < requests.size(); ++at) {
    if (!over[at]) read_one(requests[at], at, bytes, done);
  }
}

void PageReader::read_one(const Request& request, size_t at, size_t bytes, const Done& done) {
  done(at, buffer_.data(), File::read(request.descriptor, buffer_.data(), bytes, request.offset));
}

}  // namespace larix
