// What a store may still take of its memory budget.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace larix {

class Ledger {
 public:
  static constexpr int64_t kUnlimited = INT64_MAX / 2;

  explicit Ledger(int64_t left) : left_(left) {}

  // Returns false, and takes nothing, if so much is not left. Several threads may take at once.
  bool take(size_t bytes) {
    const auto wanted = static_cast<int64_t>(bytes);
    if (left_.fetch_sub(wanted, std::memory_order_relaxed) >= wanted) return true;
    left_.fetch_add(wanted, std::memory_order_relaxed);
    return false;
  }
  // Takes bytes that are used already, more than are left if need be: then others have to give.
  void charge(int64_t bytes) { left_.fetch_sub(bytes, std::memory_order_relaxed); }
  void give(size_t bytes) { left_.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed); }
  int64_t left() const { return left_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> left_;
};

}  // namespace larix
