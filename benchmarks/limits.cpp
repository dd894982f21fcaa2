// What the memory of this machine can do: rows at random places copied, or changed where they lie. No index, no checks;
// rows are asked for ahead of use and lie on huge pages where the system has them. Called by table_steps.py.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kAhead = 48, kHugePage = size_t{2} << 20;

struct Rows {
  char* data;
  size_t stride, head;  // bytes of a row, and of what lies in it before its weights

  // Into the second cache, which can have more lines on their way than the first.
  void prefetch(uint32_t row) const {
    const char* first = data + row * stride;
    const size_t bytes = stride < 512 ? stride : 512;  // the hardware follows longer rows by itself
    for (size_t offset = 0; offset < bytes; offset += 64) __builtin_prefetch(first + offset, 1, 2);
    __builtin_prefetch(first + bytes - 1, 1, 2);
  }
  float* weights(uint32_t row) const { return reinterpret_cast<float*>(data + row * stride + head); }
};

template <size_t Dim, bool kModify>
void visit(const Rows& rows, const uint32_t* at, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) rows.prefetch(at[i + kAhead]);
    float* weights = rows.weights(at[i]);
    if constexpr (kModify) {
      for (size_t k = 0; k < Dim; ++k) weights[k] += 1e-3f;
      weights[Dim] += 1.0f;  // the optimizer's state
    } else {
      std::memcpy(out + i * Dim, weights, Dim * sizeof(float));
    }
  }
}

template <bool kModify>
void visit_dim(size_t dim, const Rows& rows, const uint32_t* at, size_t count, float* out) {
  switch (dim) {
    case 16: return visit<16, kModify>(rows, at, count, out);
    case 32: return visit<32, kModify>(rows, at, count, out);
    case 64: return visit<64, kModify>(rows, at, count, out);
    case 128: return visit<128, kModify>(rows, at, count, out);
  }
}

}  // namespace

extern "C" {

// Memory for rows, each touched; never given back.
char* make_rows(size_t bytes) {
  void* mapping = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const auto address = (reinterpret_cast<uintptr_t>(mapping) + kHugePage - 1) / kHugePage * kHugePage;
  char* data = reinterpret_cast<char*>(address);
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  std::memset(data, 0, bytes);
  return data;
}

// Works ``steps`` steps of ``ids`` row numbers each. Thread ``t`` visits those in [ends[step][t], ends[step][t + 1]);
// its rows are its own. ``out``: float32 [ids, dim], the weights of a step, or null: then rows are changed.
void work(char* data, size_t stride, size_t head, size_t dim, const uint32_t* at, const int64_t* ends, size_t ids,
          size_t steps, float* out, unsigned threads) {
  const Rows rows{data, stride, head};
  const auto share = [&](unsigned me) {
    for (size_t step = 0; step < steps; ++step) {
      const int64_t* mine = ends + step * (threads + 1) + me;
      const uint32_t* first = at + step * ids + mine[0];
      const auto count = static_cast<size_t>(mine[1] - mine[0]);
      if (out) {
        visit_dim<false>(dim, rows, first, count, out + static_cast<size_t>(mine[0]) * dim);
      } else {
        visit_dim<true>(dim, rows, first, count, nullptr);
      }
    }
  };
  std::vector<std::thread> others;
  for (unsigned me = 1; me < threads; ++me) others.emplace_back(share, me);
  share(0);
  for (std::thread& other : others) other.join();
}
}
