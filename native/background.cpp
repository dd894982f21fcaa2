#include "background.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace larix {

namespace {

constexpr std::chrono::microseconds kPause{50};

// All that live, so that fork waits for the end of their slices: a child must not inherit a slice half done.
struct All {
  std::mutex mutex;
  std::vector<std::mutex*> slicing;
};

All& all() {
  static All* const all = [] {
    auto* made = new All;  // never deleted: threads may outlive static objects
    pthread_atfork(
        [] {
          larix::all().mutex.lock();
          for (std::mutex* mutex : larix::all().slicing) mutex->lock();
        },
        [] {
          for (std::mutex* mutex : larix::all().slicing) mutex->unlock();
          larix::all().mutex.unlock();
        },
        [] {
          for (std::mutex* mutex : larix::all().slicing) mutex->unlock();
          larix::all().mutex.unlock();
        });
    return made;
  }();
  return *all;
}

}  // namespace

struct Background::Shared {
  std::function<bool()> slice;
  std::chrono::milliseconds idle;
  std::mutex slicing;  // held during a slice
  std::mutex mutex;
  std::condition_variable changed;
  bool wanted = false;
  bool stop = false;
  pid_t process = getpid();
  std::thread thread;

  void serve() {
    std::unique_lock lock(mutex);
    while (!stop) {
      changed.wait_for(lock, idle, [&] { return wanted || stop; });
      wanted = false;
      for (bool more = true; more && !stop;) {
        lock.unlock();
        {
          const std::lock_guard hold(slicing);
          more = slice();
        }
        if (more) std::this_thread::sleep_for(kPause);
        lock.lock();
      }
    }
  }
};

Background::Background(std::function<bool()> slice, std::chrono::milliseconds idle)
    : shared_(std::make_unique<Shared>()) {
  shared_->slice = std::move(slice);
  shared_->idle = idle;
  {
    const std::lock_guard lock(all().mutex);
    all().slicing.push_back(&shared_->slicing);
  }
  shared_->thread = std::thread([shared = shared_.get()] { shared->serve(); });
}

Background::~Background() {
  {
    const std::lock_guard lock(all().mutex);
    std::erase(all().slicing, &shared_->slicing);
  }
  if (!alive()) {
    (void)shared_.release();  // memory of a thread, not a thread
    return;
  }
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->changed.notify_one();
  shared_->thread.join();
}

bool Background::alive() const { return shared_->process == getpid(); }

void Background::wake() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->wanted = true;
  }
  shared_->changed.notify_one();
}

}  // namespace larix
