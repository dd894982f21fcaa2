// A few threads that wait for work. Started at the first use, so that a process may fork before it; a forked child
// starts its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace larix {

class Threads {
 public:
  explicit Threads(unsigned count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  unsigned count() const { return count_; }

  // Calls work(0) .. work(count - 1), each on a thread of its own (work(0) on the caller's), and returns when all are
  // done. What one of them throws is thrown here. One caller at a time.
  void run(const std::function<void(unsigned)>& work);

 private:
  struct Crew;
  static void serve(Crew& crew, unsigned me);

  unsigned count_;
  std::unique_ptr<Crew> crew_;
};

}  // namespace larix
