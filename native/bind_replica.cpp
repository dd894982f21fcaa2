// The replica's door to Python: drops the GIL and calls the core. Arguments were checked by replica.py.
#include <optional>
#include <stdexcept>

#include "bind.hpp"
#include "bind_slots.hpp"
#include "replica.hpp"

namespace {

using larix::Replica;

// A reading that may end before Python forgets it.
struct Reading {
  std::optional<Replica::Reading> held;

  Replica::Reading& here() {
    if (!held) throw std::logic_error("the reading has ended");
    return *held;
  }
};

// Returns the number of the first slot whose offsets are not sound (nothing is done then), or -1. ``missing``: [slots],
// zeros.
int gather(Replica::Reading& reading, const Plan& plan, const nb::list& jaggeds, const nb::list& outs, size_t samples,
           const Array<int64_t, 1>& missing) {
  const auto slots = bind_slots(plan, jaggeds, outs, samples, nullptr);
  const nb::gil_scoped_release release;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].sound()) return static_cast<int>(i);
  }
  reading.gather(slots, missing.data());
  return -1;
}

void lookup(Replica::Reading& reading, uint32_t table, const Ids& ids, const Array<float, 2>& out) {
  const larix::Slot slot = bind_ids(table, ids, out.data(), out.shape(1));
  const nb::gil_scoped_release release;
  reading.gather({&slot, 1});
}

}  // namespace

void bind_replica(nb::module_& m) {

  // format: as native/quantize.hpp numbers it; tables: (dim, what each weight of an id without a row reads).
  nb::class_<Replica>(m, "Replica")
      .def(
          "__init__",
          [](Replica* self, int format, const std::vector<std::tuple<size_t, float>>& tables, unsigned threads) {
            std::vector<larix::ReplicaTable> specs;
            for (const auto& [dim, missing] : tables) specs.push_back({dim, missing});
            new (self) Replica(static_cast<larix::Format>(format), specs, threads);
          },
          nb::arg("format"), nb::arg("tables"), nb::arg("threads"))
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
           [](Replica& self, uint32_t table, const Ids& ids, const Array<const float, 2>& weights) {
             const nb::gil_scoped_release release;
             self.put(table, {ids.data(), ids.shape(0)}, weights.data());
           })
      .def("remove",
           [](Replica& self, uint32_t table, const Ids& ids) {
             const nb::gil_scoped_release release;
             return self.remove(table, {ids.data(), ids.shape(0)});
           })
      .def("clear", &Replica::clear, nb::call_guard<nb::gil_scoped_release>())
      .def("publish", &Replica::publish, nb::call_guard<nb::gil_scoped_release>())
      .def("abandon", &Replica::abandon, nb::call_guard<nb::gil_scoped_release>())
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
      // (rows, bytes, lookups, missing)
      .def("counts", [](const Replica& self) {
        const larix::ReplicaCounts counts = self.counts();
        return std::tuple(counts.rows, counts.bytes, counts.lookups, counts.missing);
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
      .def("lookup", [](Reading& self, uint32_t table, const Ids& ids,
                        const Array<float, 2>& out) { lookup(self.here(), table, ids, out); })
      .def("end", [](Reading& self) { self.held.reset(); });
}
