#include "threads.hpp"

#include <unistd.h>

#include <system_error>

namespace larix {

namespace {

constexpr int kSpins = 400;  // some microseconds: the phases of one call follow each other faster than a wake-up

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until ``value`` is no longer ``old``.
void await_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

struct Threads::Crew {
  std::atomic<uint32_t> round{0};  // raised when there is work
  std::atomic<uint32_t> busy{0};   // workers still at it
  bool stop = false;
  const std::function<void(unsigned)>* work = nullptr;
  std::mutex failing;
  std::exception_ptr failure;
  pid_t process = getpid();
  std::vector<std::thread> threads;

  void attempt(unsigned me) {
    try {
      (*work)(me);
    } catch (...) {
      const std::lock_guard lock(failing);
      if (!failure) failure = std::current_exception();
    }
  }
};

void Threads::serve(Crew& crew, unsigned me) {
  for (uint32_t seen = 0;;) {
    await_change(crew.round, seen);
    ++seen;
    if (crew.stop) return;
    crew.attempt(me);
    if (crew.busy.fetch_sub(1, std::memory_order_acq_rel) == 1) crew.busy.notify_one();
  }
}

void Threads::borrow(Team team) {
  team_ = team;
  team_process_ = getpid();
}

void Threads::lend(const std::function<void(unsigned)>& work) {
  struct Call {
    const std::function<void(unsigned)>& work;
    unsigned count;
    std::atomic<unsigned> next{0};
    std::mutex failing{};
    std::exception_ptr failure{};
  } call{work, count_};
  team_(
      [](void* data) {
        Call& call = *static_cast<Call*>(data);
        for (unsigned me; (me = call.next.fetch_add(1, std::memory_order_relaxed)) < call.count;) {
          try {
            call.work(me);
          } catch (...) {
            const std::lock_guard lock(call.failing);
            if (!call.failure) call.failure = std::current_exception();
          }
        }
      },
      &call, count_, 0);
  if (call.failure) std::rethrow_exception(call.failure);
}

void Threads::run(const std::function<void(unsigned)>& work) {
  if (count_ == 1) return work(0);
  if (team_ && team_process_ == getpid()) return lend(work);  // a child of fork has none of the team's threads
  if (crew_ && crew_->process != getpid()) (void)crew_.release();  // a child of fork has memory of threads, not threads
  if (!crew_) {
    crew_ = std::make_unique<Crew>();
    try {
      for (unsigned me = 1; me < count_; ++me) crew_->threads.emplace_back(serve, std::ref(*crew_), me);
    } catch (const std::system_error&) {
      count_ = static_cast<unsigned>(crew_->threads.size()) + 1;  // the system gives no more: results are the same
    }
  }
  Crew& crew = *crew_;
  crew.work = &work;
  crew.failure = nullptr;
  crew.busy.store(count_ - 1, std::memory_order_relaxed);
  crew.round.fetch_add(1, std::memory_order_release);
  crew.round.notify_all();
  crew.attempt(0);
  for (uint32_t left; (left = crew.busy.load(std::memory_order_acquire)) != 0;) await_change(crew.busy, left);
  if (crew.failure) std::rethrow_exception(crew.failure);
}

Threads::Threads(unsigned count) : count_(count) {}

Threads::~Threads() {
  if (!crew_) return;
  if (crew_->process != getpid()) {
    (void)crew_.release();
    return;
  }
  crew_->stop = true;
  crew_->round.fetch_add(1, std::memory_order_release);
  crew_->round.notify_all();
  for (std::thread& thread : crew_->threads) thread.join();
}

}  // namespace larix
