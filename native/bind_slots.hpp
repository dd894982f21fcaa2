// What the files that bind stores share: a layout's plan, and one batch joined with it.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "slot.hpp"

namespace nb = nanobind;

template <class T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
using Ids = Array<const int64_t, 1>;

// One slot of a layout: table number, pool, output, column.
using PlanSlot = std::tuple<uint32_t, int, size_t, size_t>;
// One output of a layout: width, length, whether it is bfloat16.
using PlanOutput = std::tuple<size_t, size_t, bool>;

struct Plan {
  std::vector<PlanSlot> slots;
  std::vector<PlanOutput> outputs;
};

template <class T>
const T* optional_data(nb::handle given) {
  return given.is_none() ? nullptr : nb::cast<Array<const T, 1>>(given).data();
}

// What a slot reads or writes of an output: its floats or its bfloat16, from ``column`` on.
struct Buffer {
  float* data = nullptr;
  uint16_t* halves = nullptr;

  Buffer from(size_t column) const { return {data ? data + column : nullptr, halves ? halves + column : nullptr}; }
};

template <class T>
T* buffer_data(nb::handle buffer) {
  const auto array = nb::cast<nb::ndarray<const T, nb::c_contig, nb::device::cpu>>(buffer);
  return const_cast<T*>(array.data());  // gather's buffers are writable: table.py saw to it
}

inline Buffer bind_buffer(nb::handle buffer, bool half) {
  if (half) return {.halves = buffer_data<uint16_t>(buffer)};
  return {.data = buffer_data<float>(buffer)};
}

inline std::vector<Buffer> bind_buffers(const Plan& plan, const nb::list& buffers) {
  if (buffers.size() != plan.outputs.size()) throw std::invalid_argument("buffers are not those of the layout");
  std::vector<Buffer> found;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    found.push_back(bind_buffer(buffers[i], std::get<2>(plan.outputs[i])));
  }
  return found;
}

// Joins a layout's plan with one batch. ``jaggeds``: (values, offsets or None, weights or None) a slot. The arrays have
// the shapes that table.py or replica.py checked; they are kept alive by the caller. ``handles`` may be null.
inline std::vector<larix::Slot> bind_slots(const Plan& plan, const nb::list& jaggeds, const nb::list& buffers, size_t samples,
                                    larix::Handle* handles) {
  const auto bound = bind_buffers(plan, buffers);
  std::vector<larix::Slot> slots;
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const auto& [table, pool, output, column] = plan.slots[i];
    const auto& [width, length, half] = plan.outputs[output];
    const Buffer buffer = bound[output].from(column);
    const auto jagged = nb::cast<nb::tuple>(jaggeds[i]);
    const auto ids = nb::cast<Ids>(jagged[0]);
    slots.push_back({.table = table,
                     .pool = static_cast<larix::Pool>(pool),
                     .ids = ids.data(),
                     .count = ids.shape(0),
                     .offsets = optional_data<int64_t>(jagged[1]),
                     .weights = optional_data<float>(jagged[2]),
                     .samples = samples,
                     .data = buffer.data,
                     .halves = buffer.halves,
                     .stride = width * (length ? length : 1),
                     .length = length,
                     .width = width,
                     .handles = handles});
    if (handles) handles += ids.shape(0);
  }
  return slots;
}

// The same for slots without weights whose ids lie side by side: see bind_replica.cpp, gather_packed.
inline std::vector<larix::Slot> bind_packed(const Plan& plan, const Ids& ids, const Array<const int64_t, 2>& found,
                                            const Array<const int64_t, 2>& offsets, const nb::list& buffers) {
  const auto bound = bind_buffers(plan, buffers);
  const size_t samples = offsets.shape(1) - 1;
  const auto all = static_cast<int64_t>(ids.shape(0)), lists = static_cast<int64_t>(offsets.shape(0));
  if (found.shape(0) != plan.slots.size() || found.shape(1) != 3) throw std::invalid_argument("slots are not those of the layout");
  std::vector<larix::Slot> slots;
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const auto& [table, pool, output, column] = plan.slots[i];
    const auto& [width, length, half] = plan.outputs[output];
    const int64_t* const slot = found.data() + 3 * i;
    if (slot[0] < 0 || slot[1] < 0 || slot[0] > all - slot[1] || slot[2] < -1 || slot[2] >= lists) {
      throw std::invalid_argument("a slot lies outside of the ids or the offsets");
    }
    slots.push_back({.table = table,
                     .pool = static_cast<larix::Pool>(pool),
                     .ids = ids.data() + slot[0],
                     .count = static_cast<size_t>(slot[1]),
                     .offsets = slot[2] < 0 ? nullptr : offsets.data() + static_cast<size_t>(slot[2]) * (samples + 1),
                     .samples = samples,
                     .data = bound[output].from(column).data,
                     .stride = width * (length ? length : 1),
                     .length = length,
                     .width = width});
  }
  return slots;
}

inline larix::Slot bind_ids(uint32_t table, const Ids& ids, const float* data, size_t dim) {
  return {.table = table,
          .ids = ids.data(),
          .count = ids.shape(0),
          .samples = ids.shape(0),
          .data = const_cast<float*>(data),
          .stride = dim,
          .width = dim};
}
