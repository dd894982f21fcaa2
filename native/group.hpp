// Tables of equal dim and optimizer live together: one index, one set of slabs, one pass for all their slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "birth.hpp"
#include "index.hpp"
#include "optimizer.hpp"
#include "rows.hpp"
#include "slot.hpp"

namespace larix {

struct Group {
  Group(size_t dim, const Optimizer& optimizer)
      : dim(dim), optimizer(optimizer), rows(dim + optimizer.state(dim)), nothing(dim) {}

  size_t state() const { return optimizer.state(dim); }

  size_t dim;
  Optimizer optimizer;
  Index index;
  Rows rows;
  std::vector<float> nothing;  // what an id without a row reads
};

// An id that was not found, to be inserted by the one thread that owns its shard.
struct Miss {
  uint64_t hash;
  int64_t id;
  Handle* handle;
  uint32_t table;
};

// Finds the rows of ids[0..count): handles get row numbers (the generation is left to gather) or kNoHandle, and misses
// are appended.
void find(const Group& group, uint32_t table, const int64_t* ids, size_t count, Handle* handles,
          std::vector<Miss>& misses);

// Gives the missing ids of the shards that ``me`` owns of ``threads`` a row each, and their handles its number.
// ``births`` and ``born`` (a count that is raised) are by table.
void insert(Group& group, std::span<const Birth> births, std::span<const Miss> misses, unsigned me, unsigned threads,
            std::vector<int64_t>& born);

// Completes handles that find left without a generation.
void complete(const Group& group, Handle* handles, size_t count);

// Writes the vectors of samples [first, last) of a slot whose handles are found, and completes the handles.
void gather(const Group& group, const Slot& slot, size_t first, size_t last);

// What one thread sums gradients in; kept from call to call for its memory.
struct Sums {
  std::vector<uint32_t> rows;
  std::vector<float> grads;
};

// One id's gradient: ``scale`` times the vector at ``grad``.
struct Occurrence {
  Handle handle;
  const float* grad;
  float scale;
};

// What one thread has dealt from its part of every slot: by owner of the row, occurrences in order, and where each
// slot's end.
struct Dealt {
  std::vector<std::vector<Occurrence>> occurrences;
  std::vector<std::vector<size_t>> ends;
};

// Deals ``me``'s part of all slots to the threads that own the rows.
void deal(std::span<const Slot> slots, unsigned me, unsigned threads, Dealt& dealt);

// Sums the gradients of repeated rows in order of occurrence over all slots, then steps each row once. Alone, or as the
// owner ``me`` of rows that all threads have dealt. Returns how many ids had no row any more.
int64_t apply(Group& group, std::span<const Slot> slots, double lr_scale, Sums& sums);
int64_t apply(Group& group, std::span<const Dealt* const> hands, size_t slots, double lr_scale, unsigned me, Sums& sums);

}  // namespace larix
