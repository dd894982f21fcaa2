// Reads: what a transform has to read, gathered first and then done together, on one thread or several.
// Knows nothing of Python or of what is read.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace larix::features {

// How a read went: `bad` is 0 or what is wrong with the element `at` (an output index), `missing` counts nulls and NaN.
struct Status {
  int64_t bad = 0, at = -1, missing = 0;
};

// Tasks write apart from each other, so that any order on any thread gives the same bytes.
class Reads {
 public:
  // `elements` is about how much work the task is. `output` is the array it writes to: tasks that interleave in one array go
  // to one thread, for two would fight over its cache lines.
  void add(int64_t elements, const void* output, std::function<Status()> task) {
    auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return p.output == output; });
    if (part == parts_.end()) part = parts_.insert(part, Part{output, 0, {}});
    part->elements += elements;
    part->tasks.push_back(tasks_.size());
    tasks_.push_back(std::move(task));
    elements_ += elements;
  }

  int64_t elements() const { return elements_; }
  size_t size() const { return tasks_.size(); }

  // Does every task and writes its status, in the order of adding. Below some 64 thousand elements one thread is fastest.
  void run(int threads, Status* out) const {
    std::vector<const Part*> order;
    for (const Part& part : parts_) order.push_back(&part);
    std::atomic<size_t> next{0};
    auto work = [&] {
      for (size_t i = next++; i < order.size(); i = next++) {
        for (const size_t task : order[i]->tasks) out[task] = tasks_[task]();
      }
    };
    std::vector<std::thread> others;
    if (threads > 1 && elements_ > kWorthThreads) {
      // The longest first, so that no thread is left alone with one at the end.
      std::stable_sort(order.begin(), order.end(), [](auto a, auto b) { return a->elements > b->elements; });
      try {
        const size_t most = std::min(static_cast<size_t>(threads), order.size());
        while (others.size() + 1 < most) others.emplace_back(work);
      } catch (const std::system_error&) {
        // The system gives no more threads: those there are do it all.
      }
    }
    work();
    for (auto& thread : others) thread.join();
  }

 private:
  static constexpr int64_t kWorthThreads = 1 << 16;

  struct Part {
    const void* output;
    int64_t elements;
    std::vector<size_t> tasks;
  };
  std::vector<std::function<Status()>> tasks_;
  std::vector<Part> parts_;
  int64_t elements_ = 0;
};

}  // namespace larix::features
