// The replica's door to Python: drops the GIL and calls the core. Arguments were checked by replica.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind.hpp"
#include "bind_slots.hpp"
#include "replica.hpp"

namespace {

using larix::Replica;

template <class Work>
larix::Status without_gil(const Work& work) {
  const nb::gil_scoped_release release;
  return work();
}

Replica::Stamp stamp_of(const nb::bytes& stamp) {
  Replica::Stamp found;
  if (stamp.size() != sizeof(found)) throw std::invalid_argument("a stamp has 32 bytes");
  std::memcpy(found.data(), stamp.c_str(), sizeof(found));
  return found;
}

// A reading that may end before Python forgets it.
struct Reading {
  std::optional<Replica::Reading> held;

  Replica::Reading& here() {
    if (!held) throw std::logic_error("the reading has ended");
    return *held;
  }
};

// Returns the number of the first slot whose offsets are not sound (nothing is done then), or -1. ``missing``: zeros a slot,
// of each part of the samples; ``ends``: where parts end, rising to the number of samples.
int gather(Replica::Reading& reading, const std::vector<larix::Slot>& slots, int64_t* missing, std::span<const int64_t> ends) {
  larix::Status status;
  {
    const nb::gil_scoped_release release;
    for (size_t i = 0; i < slots.size(); ++i) {
      if (!slots[i].sound()) return static_cast<int>(i);
    }
    std::vector<larix::Slot> some(slots.size());
    size_t first = 0;
    for (const int64_t end : ends) {
      const auto last = static_cast<size_t>(end);
      for (size_t i = 0; i < slots.size(); ++i) some[i] = slots[i].of(first, last);
      status = reading.gather(some, missing);
      if (!status.ok()) break;
      missing += slots.size();
      first = last;
    }
  }
  raise(status);
  return -1;
}

int gather(Replica::Reading& reading, const Plan& plan, const nb::list& jaggeds, const nb::list& outs, size_t samples,
           const Array<int64_t, 1>& missing) {
  const auto whole = static_cast<int64_t>(samples);
  return gather(reading, bind_slots(plan, jaggeds, outs, samples, nullptr), missing.data(), {&whole, 1});
}

void lookup(Replica::Reading& reading, uint32_t table, const Ids& ids, const Array<float, 2>& out) {
  const larix::Slot slot = bind_ids(table, ids, out.data(), out.shape(1));
  raise(without_gil([&] { return reading.gather({&slot, 1}); }));
}

void heat(const Replica::Reading& reading, uint32_t table, const Ids& ids, const Array<uint16_t, 1>& out) {
  const nb::gil_scoped_release release;
  reading.heat(table, {ids.data(), ids.shape(0)}, out.data());
}

}  // namespace

void bind_replica(nb::module_& m) {

  // format: as native/quantize.hpp numbers it; tables: (dim, what each weight of an id without a row reads); levels: None, or
  // folder, bytes of hot rows, and whether cold ones are read as int8 from memory.
  nb::class_<Replica>(m, "Replica")
      .def(
          "__init__",
          [](Replica* self, int format, const std::vector<std::tuple<size_t, float>>& tables, unsigned threads,
             const std::optional<std::tuple<std::string, size_t, bool>>& levels) {
            std::vector<larix::ReplicaTable> specs;
            for (const auto& [dim, missing] : tables) specs.push_back({dim, missing});
            std::optional<larix::Levels> two;
            if (levels) two = larix::Levels{std::get<0>(*levels), std::get<1>(*levels), std::get<2>(*levels)};
            new (self) Replica(static_cast<larix::Format>(format), specs, threads, two);
            if (const larix::Status status = self->open(); !status.ok()) {
              self->~Replica();
              raise(status);
            }
          },
          nb::arg("format"), nb::arg("tables"), nb::arg("threads"), nb::arg("levels").none())
      .def("gather",
           [](const Replica& self, const Plan& plan, const nb::list& jaggeds, const nb::list& outs, size_t samples,
              const Array<int64_t, 1>& missing) {
             Replica::Reading reading(self);
             return gather(reading, plan, jaggeds, outs, samples, missing);
           })
      .def("lookup",
           [](const Replica& self, uint32_t table, const Ids& ids, const Array<float, 2>& out) {
             Replica::Reading reading(self);
             lookup(reading, table, ids, out);
           })
      .def("version", &Replica::version)
      .def("put",
           [](Replica& self, uint32_t table, const Ids& ids, const Array<const float, 2>& weights,
              const std::optional<Array<const uint16_t, 1>>& heat) {
             const uint16_t* wanted = heat ? heat->data() : nullptr;
             raise(without_gil([&] { return self.put(table, {ids.data(), ids.shape(0)}, weights.data(), wanted); }));
           },
           nb::arg("table"), nb::arg("ids"), nb::arg("weights"), nb::arg("heat").none())
      .def("remove",
           [](Replica& self, uint32_t table, const Ids& ids) {
             const nb::gil_scoped_release release;
             return self.remove(table, {ids.data(), ids.shape(0)});
           })
      .def("clear", &Replica::clear, nb::call_guard<nb::gil_scoped_release>())
      // Returns how many rows were moved; they are shown by publish.
      .def("adapt",
           [](Replica& self, size_t most) {
             size_t moved = 0;
             raise(without_gil([&] { return self.adapt(most, moved); }));
             return moved;
           })
      .def("publish", [](Replica& self) { raise(without_gil([&] { return self.publish(); })); })
      .def("abandon", &Replica::abandon, nb::call_guard<nb::gil_scoped_release>())
      // ``stamp``: 32 bytes. ``between``: called, without arguments, after some milliseconds of work each. The descriptor stays the replica's own.
      .def("freeze",
           [](Replica& self, const nb::bytes& stamp, const nb::callable& between) {
             const auto pause = [&between] {
               const nb::gil_scoped_acquire held;
               try {
                 between();
               } catch (nb::python_error& error) {
                 error.discard_as_unraisable("a pause while rows are moved into an image");
               }
             };
             raise(without_gil([&, known = stamp_of(stamp)] { return self.freeze(known, pause); }));
             return self.descriptor();
           })
      .def("adopt",
           [](Replica& self, int descriptor, const nb::bytes& stamp) {
             raise(without_gil([&, known = stamp_of(stamp)] { return self.adopt(descriptor, known); }));
             return self.descriptor();
           })
      .def("rows", &Replica::rows)
      // In no order.
      .def("keys",
           [](const Replica& self, uint32_t table) {
             auto* ids = new std::vector<int64_t>();
             const nb::capsule owner(ids, [](void* p) noexcept { delete static_cast<std::vector<int64_t>*>(p); });
             {
               const nb::gil_scoped_release release;
               *ids = self.keys(table);
             }
             return nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>(ids->data(), {ids->size()}, owner);
           })
      // As larix::ReplicaCounts has them.
      .def("counts", [](const Replica& self) {
        const larix::ReplicaCounts counts = self.counts();
        return std::tuple(counts.rows, counts.bytes, counts.lookups, counts.missing, counts.hot_rows, counts.hot_bytes,
                          counts.cold, counts.promoted, counts.demoted, counts.disk_bytes, counts.shared);
      });

  nb::class_<Reading>(m, "Reading")
      .def(
          "__init__",
          [](Reading* self, const Replica& replica) {
            new (self) Reading();
            self->held.emplace(replica);
          },
          nb::keep_alive<1, 2>())
      .def("version", [](Reading& self) { return self.here().version(); })
      .def("gather",
           [](Reading& self, const Plan& plan, const nb::list& jaggeds, const nb::list& outs, size_t samples,
              const Array<int64_t, 1>& missing) { return gather(self.here(), plan, jaggeds, outs, samples, missing); })
      // The same by part: ``ends`` [parts], ``missing`` [parts, slots].
      .def("gather_parts",
           [](Reading& self, const Plan& plan, const nb::list& jaggeds, const nb::list& outs, const Array<const int64_t, 1>& ends,
              const Array<int64_t, 2>& missing) {
             const std::span<const int64_t> parts{ends.data(), ends.shape(0)};
             const auto samples = static_cast<size_t>(parts.empty() ? 0 : parts.back());
             return gather(self.here(), bind_slots(plan, jaggeds, outs, samples, nullptr), missing.data(), parts);
           })
      // The same of slots that lie side by side: ``found`` [slots, 3] has of each its first of ``ids``, how many, and its row of
      // ``offsets`` [lists, samples + 1], or -1.
      .def("gather_packed",
           [](Reading& self, const Plan& plan, const Ids& ids, const Array<const int64_t, 2>& found,
              const Array<const int64_t, 2>& offsets, const nb::list& outs, const Array<const int64_t, 1>& ends,
              const Array<int64_t, 2>& missing) {
             const std::span<const int64_t> parts{ends.data(), ends.shape(0)};
             const int64_t samples = parts.empty() ? 0 : parts.back();
             if (static_cast<int64_t>(offsets.shape(1)) != samples + 1) throw std::invalid_argument("offsets are of other samples");
             return gather(self.here(), bind_packed(plan, ids, found, offsets, outs), missing.data(), parts);
           })
      .def("lookup", [](Reading& self, uint32_t table, const Ids& ids,
                        const Array<float, 2>& out) { lookup(self.here(), table, ids, out); })
      // Of each id 256 if its row is hot, and its uses more.
      .def("heat", [](Reading& self, uint32_t table, const Ids& ids,
                      const Array<uint16_t, 1>& out) { heat(self.here(), table, ids, out); })
      .def("end", [](Reading& self) { self.held.reset(); });
}
