// A thread that works in slices when it is told to, or from time to time. Knows nothing of what the work is.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace larix {

class Background {
 public:
  // ``slice`` does a little and returns whether there is more to do at once; between two slices the thread pauses. It is
  // called every ``idle`` even if nobody asks.
  Background(std::function<bool()> slice, std::chrono::milliseconds idle);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Whether the thread is there: a child of fork has none, and has to do the work itself.
  bool alive() const;

  void wake();

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace larix
