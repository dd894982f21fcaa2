// Who is reading, and since when: so that a writer knows when nobody can hold what it has taken out of sight.
//
// A reader notes the epoch in a slot of its own for the length of a call; the writer raises the epoch and waits until no
// slot shows an older one. Readers never wait: there is always a slot, and a second look at the epoch is all they repeat,
// if the writer raised it in that very moment. Everything is sequentially consistent where that argument needs it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

namespace larix {

class Epochs {
  struct Slots;

 public:
  // On a cache line of its own; one reader at a time writes to it.
  struct alignas(64) Slot {
    std::atomic<uint64_t> since{0};  // the epoch in which its reader came; 0: free
    std::atomic<uint64_t> lookups{0};
    std::atomic<uint64_t> missing{0};
    std::atomic<uint64_t> cold{0};
  };

  // A reader's stay.
  class Stay {
   public:
    explicit Stay(const Epochs& epochs) : slot_(epochs.enter()) {}
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;
    ~Stay() { slot_.since.store(0, std::memory_order_release); }

    // Of all stays in this slot.
    uint64_t lookups() const { return slot_.lookups.load(std::memory_order_relaxed); }

    void count(uint64_t lookups, uint64_t missing, uint64_t cold) {
      add(slot_.lookups, lookups);
      add(slot_.missing, missing);
      add(slot_.cold, cold);
    }

   private:
    static void add(std::atomic<uint64_t>& sum, uint64_t more) {  // nobody else writes to it
      sum.store(sum.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
    }

    Slot& slot_;
  };

  Epochs() = default;
  Epochs(const Epochs&) = delete;
  Epochs& operator=(const Epochs&) = delete;
  ~Epochs() {
    for (Slots* slots = first_.next.load(); slots;) slots = std::unique_ptr<Slots>(slots)->next.load();
  }

  // Returns when all readers have left that came before the call: what was out of sight then, nobody holds any more.
  void wait() {
    const uint64_t now = epoch_.fetch_add(1) + 1;
    each([now](const Slot& slot) {
      for (int turn = 0;; ++turn) {
        const uint64_t since = slot.since.load();
        if (since == 0 || since >= now) return;
        if (turn < 100) {
          std::this_thread::yield();
        } else {
          std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
      }
    });
  }

  template <class Visit>
  void each(const Visit& visit) const {
    for (const Slots* slots = &first_; slots; slots = slots->next.load()) {
      for (const Slot& slot : slots->slots) visit(slot);
    }
  }

 private:
  struct Slots {
    static constexpr unsigned kCount = 64;
    Slot slots[kCount];
    std::atomic<Slots*> next{nullptr};
  };

  Slot& enter() const {
    static std::atomic<unsigned> threads{0};
    thread_local const unsigned mine = threads.fetch_add(1, std::memory_order_relaxed);  // where to look first
    for (Slots* slots = &first_;; slots = after(*slots)) {
      for (unsigned i = 0; i < Slots::kCount; ++i) {
        Slot& slot = slots->slots[(mine + i) % Slots::kCount];
        uint64_t free = 0, now = epoch_.load();
        if (slot.since.load(std::memory_order_relaxed) != 0 || !slot.since.compare_exchange_strong(free, now)) continue;
        // Had the epoch been raised before the slot showed it, the writer would not know of us.
        for (uint64_t newer; (newer = epoch_.load()) != now; now = newer) slot.since.store(newer);
        return slot;
      }
    }
  }

  // More slots, if there are more readers at once than there have ever been.
  static Slots* after(Slots& last) {
    Slots* next = last.next.load();
    if (next) return next;
    auto fresh = std::make_unique<Slots>();
    return last.next.compare_exchange_strong(next, fresh.get()) ? fresh.release() : next;
  }

  std::atomic<uint64_t> epoch_{1};
  mutable Slots first_;
};

}  // namespace larix
