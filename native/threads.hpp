// A few threads that wait for work: our own, or those of a team that the process has already. Our own are started at the
// first use, so that a process may fork before it; a forked child starts its own.
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

// Calls work(data) on up to ``count`` threads at once and returns when all have; OpenMP's GOMP_parallel is one.
using Team = void (*)(void (*work)(void*), void* data, unsigned count, unsigned flags);

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

  // From now on work is done by ``team`` (null: by our own threads), however few threads it gives. Two teams on the same
  // cores fight: the one that has just finished spins for more work while the other needs the core.
  void borrow(Team team);

 private:
  struct Crew;
  static void serve(Crew& crew, unsigned me);
  void lend(const std::function<void(unsigned)>& work);

  unsigned count_;
  Team team_ = nullptr;
  int team_process_ = 0;
  std::unique_ptr<Crew> crew_;
};

}  // namespace larix
