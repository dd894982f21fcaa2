// Threads choose pages from the same candidates at once: random ones, duplicates, zeros, few dims, tiny and huge lengths,
// every window. Each page must hold different items, be the same in every thread, and begin with the most relevant of what
// has a length. Built for sanitizers, without Python. Usage: stress_feed [seconds] [seed].
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "diversity.hpp"

namespace {

using larix::Items;
using larix::Page;
using larix::Status;
using Choose = Status(const Items&, double, size_t, const Page&);

constexpr size_t kThreads = 3;
constexpr Choose* kMethods[] = {larix::mmr, larix::dpp, larix::ssd};

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "stress_feed: %s\n", what);
  std::abort();
}

struct Case {
  explicit Case(std::mt19937_64& random) {
    const size_t count = random() % 4 == 0 ? random() % 300 : random() % 40;
    dim = random() % 8 == 0 ? 0 : 1 + random() % (random() % 2 ? 4 : 70);
    size = random() % (count + 1);
    window = 1 + random() % (random() % 3 ? 6 : 80);
    weight = static_cast<double>(random() % 1001) / 1000.0;
    std::normal_distribution<float> normal;
    const float length = std::ldexp(1.0f, static_cast<int>(random() % 200) - 100);
    for (size_t j = 0; j < count; ++j) {
      relevance.push_back(random() % 3 ? normal(random) : 0.25f);
      const size_t kind = random() % 6;
      const size_t twin = j ? random() % j : 0;
      for (size_t k = 0; k < dim; ++k) {
        const float fresh = kind == 1 ? 0.0f : normal(random) * length;
        vectors.push_back(kind == 0 && j ? vectors[twin * dim + k] : fresh);
      }
    }
  }

  std::vector<float> relevance, vectors;
  size_t dim, size, window;
  double weight;
};

struct Chosen {
  std::vector<int64_t> items;
  std::vector<double> diversity;
  bool operator==(const Chosen&) const = default;
};

Chosen choose(Choose* method, const Case& given) {
  Chosen chosen{std::vector<int64_t>(given.size, -1), std::vector<double>(given.size)};
  const Items items{given.relevance.data(), given.vectors.data(), given.relevance.size(), given.dim};
  const Status status = method(items, given.weight, given.window, {chosen.items.data(), chosen.diversity.data(), given.size});
  expect(status.ok(), "finite candidates were refused");
  std::vector<bool> taken(given.relevance.size());
  for (size_t place = 0; place < given.size; ++place) {
    const auto item = static_cast<size_t>(chosen.items[place]);
    expect(item < taken.size() && !taken[item], "a page holds an item twice, or one that there is not");
    taken[item] = true;
    expect(!std::isnan(chosen.diversity[place]), "what diversity adds is no number");
  }
  return chosen;
}

bool has_length(const Case& given, size_t item) {
  for (size_t k = 0; k < given.dim; ++k) {
    if (given.vectors[item * given.dim + k] != 0.0f) return true;
  }
  return false;
}

void check_first(const Case& given, const Chosen& page) {
  if (page.items.empty()) return;
  const auto first = static_cast<size_t>(page.items[0]);
  for (size_t j = 0; j < given.relevance.size(); ++j) {
    if (has_length(given, j) != has_length(given, first)) continue;
    const double lead = given.weight * (static_cast<double>(given.relevance[j]) - given.relevance[first]);
    expect(lead <= 0.0, "a page does not begin with the most relevant");
  }
}

void refuse(std::mt19937_64& random) {
  Case given(random);
  if (given.relevance.empty()) return;
  const float bad = random() % 2 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  std::vector<float>& spoilt = random() % 2 && given.dim ? given.vectors : given.relevance;
  spoilt[random() % spoilt.size()] = bad;
  const Items items{given.relevance.data(), given.vectors.data(), given.relevance.size(), given.dim};
  std::vector<int64_t> places(given.size, -1);
  std::vector<double> diversity(given.size);
  for (Choose* method : kMethods) {
    expect(!method(items, given.weight, given.window, {places.data(), diversity.data(), given.size}).ok(),
           "what is not finite was taken");
  }
  for (const int64_t place : places) expect(place == -1, "a refused call touched its page");
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::mt19937_64 random(seed);
  long long pages = 0;
  while (std::chrono::steady_clock::now() < until) {
    const Case given(random);
    std::vector<std::vector<Chosen>> all(kThreads);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        for (Choose* method : kMethods) all[i].push_back(choose(method, given));
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 1; i < kThreads; ++i) expect(all[i] == all[0], "threads chose different pages");
    // A weight of 0 leaves MMR's and DPP's first place to the order of candidates.
    for (const Chosen& page : all[0]) {
      if (given.weight > 0.0) check_first(given, page);
    }
    pages += static_cast<long long>(kThreads) * 3;
    refuse(random);
  }
  std::printf("stress_feed: %lld pages, each the same in every thread\n", pages);
}
