// The one file that knows Python: checks arguments, drops the GIL, calls the core, turns its status into an exception.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "bind.hpp"
#include "bind_slots.hpp"
#include "store.hpp"

namespace nb = nanobind;

void raise(const larix::Status& status, const char* error) {
  if (status.ok()) return;
  PyErr_SetString(nb::module_::import_("larix.errors").attr(error).ptr(), status.sentence().c_str());
  throw nb::python_error();
}

// ---- embedding ------------------------------------------------------------------------------------------------------

namespace {

// Returns work(&disk), done without the GIL; raises what the disk refused.
template <class Work>
auto without_gil(Work&& work) {
  larix::Status disk;
  const auto result = [&] {
    const nb::gil_scoped_release release;
    return work(&disk);
  }();
  raise(disk);
  return result;
}

void bind_optimizers(nb::module_& m) {
  using larix::Decay, larix::Optimizer, larix::Precision, larix::Rule, larix::Schedule;
  nb::enum_<Precision>(m, "Precision")
      .value("fp32", Precision::fp32)
      .value("bf16", Precision::bf16)
      .value("fp16", Precision::fp16);
  nb::enum_<Rule>(m, "Rule")
      .value("sgd", Rule::sgd)
      .value("momentum", Rule::momentum)
      .value("adagrad", Rule::adagrad)
      .value("row_adagrad", Rule::row_adagrad)
      .value("adam", Rule::adam)
      .value("adamw", Rule::adamw)
      .value("ftrl", Rule::ftrl)
      .value("lamb", Rule::lamb);
  nb::enum_<Decay>(m, "Decay")
      .value("none", Decay::none)
      .value("cosine", Decay::cosine)
      .value("inverse_sqrt", Decay::inverse_sqrt)
      .value("step", Decay::step);
  nb::class_<Schedule>(m, "Schedule")
      .def(
          "__init__",
          [](Schedule* self, uint64_t warmup, Decay decay, uint64_t steps, double number) {
            new (self) Schedule{warmup, decay, steps, number};
          },
          nb::arg("warmup"), nb::arg("decay"), nb::arg("steps"), nb::arg("number"));
  nb::class_<Optimizer>(m, "Optimizer")
      .def(
          "__init__",
          [](Optimizer* self, Rule rule, const Schedule& schedule) {
            new (self) Optimizer{.rule = rule, .schedule = schedule};
          },
          nb::arg("rule"), nb::arg("schedule"))
      .def_rw("lr", &Optimizer::lr)
      .def_rw("eps", &Optimizer::eps)
      .def_rw("beta1", &Optimizer::beta1)
      .def_rw("beta2", &Optimizer::beta2)
      .def_rw("momentum", &Optimizer::momentum)
      .def_rw("nesterov", &Optimizer::nesterov)
      .def_rw("beta", &Optimizer::beta)
      .def_rw("l1", &Optimizer::l1)
      .def_rw("l2", &Optimizer::l2)
      .def_rw("initial", &Optimizer::initial)
      .def_rw("weight_decay", &Optimizer::weight_decay)
      .def_rw("clip_grad", &Optimizer::clip_grad)
      .def_rw("max_norm", &Optimizer::max_norm);
}

void bind_embedding(nb::module_& m) {
  using larix::Store;

  nb::class_<Plan>(m, "Plan").def(
      "__init__",
      [](Plan* self, std::vector<PlanSlot> slots, std::vector<PlanOutput> outputs) {
        new (self) Plan{std::move(slots), std::move(outputs)};
      },
      nb::arg("slots"), nb::arg("outputs"));

  // Values, one vector a sample, into the columns of an output's buffer from ``column`` on.
  m.def("place", [](nb::handle buffer, bool half, const Array<const float, 2>& values, size_t column) {
    const auto to = nb::cast<nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>>(buffer);
    if (to.shape(0) != values.shape(0) || column + values.shape(1) > to.shape(1)) {
      throw std::invalid_argument("values do not fit in the buffer");
    }
    const Buffer bound = bind_buffer(buffer, half).from(column);
    const larix::Slot slot{.samples = values.shape(0), .data = bound.data, .halves = bound.halves,
                           .stride = to.shape(1), .width = values.shape(1)};
    const nb::gil_scoped_release release;
    if (slot.samples && slot.width) larix::place(slot, values.data());
  });

  // groups: (dim, precision, optimizer); tables: (group, init, key, factor, default, admission, policy).
  using GroupTuple = std::tuple<size_t, larix::Precision, larix::Optimizer>;
  using AdmissionTuple = std::tuple<int, unsigned, size_t, uint64_t, uint64_t>;  // kind, least, blocks, window, bound
  using PolicyTuple = std::tuple<int, uint32_t, float, float, float, double, std::vector<double>>;
  using TableTuple = std::tuple<size_t, int, uint64_t, float, float, AdmissionTuple, PolicyTuple>;
  nb::class_<Store> store(m, "Store");
  bind_snapshot(m, store);
  store
      .def(
          "__init__",
          [](Store* self, const std::vector<GroupTuple>& groups, const std::vector<TableTuple>& tables,
             unsigned threads, int64_t budget, bool background) {
            std::vector<larix::GroupSpec> group_specs;
            for (const auto& [dim, precision, optimizer] : groups) group_specs.push_back({dim, precision, optimizer});
            std::vector<larix::TableSpec> table_specs;
            for (const auto& [group, init, key, factor, nothing, admission, policy] : tables) {
              larix::TableSpec spec{.group = group,
                                    .birth = {static_cast<larix::Init>(init), key, factor},
                                    .admission = {},
                                    .policy = {},
                                    .nothing = nothing};
              const auto& [kind, least, blocks, window, bound] = admission;
              spec.admission.kind = static_cast<larix::Admission::Kind>(kind);
              spec.admission.key = key;
              spec.admission.least = least;
              spec.admission.bound = bound;
              if (blocks) spec.admission.sketch = std::make_unique<larix::Sketch>(blocks, key, window);
              const auto& [keep, pool, show, click, sequence, age, fading] = policy;
              spec.policy = {static_cast<larix::Keep>(keep), pool, show, click, sequence, age, {}};
              std::copy(fading.begin(), fading.end(), spec.policy.fading.begin());
              table_specs.push_back(std::move(spec));
            }
            new (self) Store(group_specs, std::move(table_specs), threads, {budget, background});
          },
          nb::arg("groups"), nb::arg("tables"), nb::arg("threads"), nb::arg("budget"), nb::arg("background"))
      // Returns -1 less the number of the first slot whose offsets are not sound (nothing is done then), or how many bytes
      // are short.
      .def("gather",
           [](Store& self, const Plan& plan, const nb::list& jaggeds, const nb::list& outs, size_t samples,
              const Array<uint64_t, 1>& handles, bool insert) {
             const auto slots = bind_slots(plan, jaggeds, outs, samples, handles.data());
             return without_gil([&](larix::Status* disk) {
               for (size_t i = 0; i < slots.size(); ++i) {
                 if (!slots[i].sound()) return -1 - static_cast<int64_t>(i);
               }
               return self.gather(slots, insert, disk);
             });
           })
      .def("apply",
           [](Store& self, const Plan& plan, const nb::list& jaggeds, const nb::list& grads, size_t samples,
              const Array<uint64_t, 1>& handles, double lr_scale, nb::handle clicks) {
             const auto slots = bind_slots(plan, jaggeds, grads, samples, handles.data());
             const float* clicked = optional_data<float>(clicks);
             without_gil([&](larix::Status* disk) {
               self.apply(slots, lr_scale, clicked, disk);
               return 0;
             });
           },
           nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none())
      .def("lookup",
           [](Store& self, uint32_t table, const Ids& ids, const Array<float, 2>& out, bool insert) {
             larix::Slot slot = bind_ids(table, ids, out.data(), out.shape(1));
             return without_gil([&](larix::Status* disk) {
               std::vector<larix::Handle> handles(slot.count);
               slot.handles = handles.data();
               return self.gather({&slot, 1}, insert, disk);
             });
           })
      .def("update",
           [](Store& self, uint32_t table, const Ids& ids, const Array<const float, 2>& grads, double lr_scale,
              nb::handle clicks) {
             const larix::Slot slot = bind_ids(table, ids, grads.data(), grads.shape(1));
             const float* clicked = optional_data<float>(clicks);
             without_gil([&](larix::Status* disk) {
               self.update(slot, lr_scale, clicked, disk);
               return 0;
             });
           },
           nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none())
      .def("rows", &Store::rows, nb::call_guard<nb::gil_scoped_release>())
      .def("steps", &Store::steps, nb::call_guard<nb::gil_scoped_release>())
      .def("set_steps", &Store::set_steps, nb::call_guard<nb::gil_scoped_release>())
      // In no order.
      .def("keys",
           [](const Store& self, uint32_t table) {
             auto* ids = new std::vector<int64_t>();
             const nb::capsule owner(ids, [](void* p) noexcept { delete static_cast<std::vector<int64_t>*>(p); });
             without_gil([&](larix::Status* disk) {
               *ids = self.keys(table, disk);
               return 0;
             });
             return nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>(ids->data(), {ids->size()}, owner);
           })
      .def("read",
           [](const Store& self, uint32_t table, const Ids& ids, const Array<float, 2>& weights,
              const Array<float, 2>& state) {
             const std::span<const int64_t> keys(ids.data(), ids.shape(0));
             without_gil([&](larix::Status* disk) {
               self.read(table, keys, weights.data(), state.data(), disk);
               return 0;
             });
           })
      .def("put",
           [](Store& self, uint32_t table, const Ids& ids, const Array<const float, 2>& weights,
              const Array<const float, 2>& state, nb::handle seen, nb::handle score) {
             const std::span<const int64_t> keys(ids.data(), ids.shape(0));
             const auto* seen_data = optional_data<uint32_t>(seen);
             const auto* score_data = optional_data<float>(score);
             return without_gil([&](larix::Status* disk) {
               return self.put(table, keys, weights.data(), state.data(), seen_data, score_data, disk);
             });
           },
           nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none())
      .def("remove",
           [](Store& self, uint32_t table, const Ids& ids) {
             const std::span<const int64_t> keys(ids.data(), ids.shape(0));
             return without_gil([&](larix::Status* disk) { return self.remove(table, keys, disk); });
           })
      // ---- rows on disk
      .def("open_tier",
           [](Store& self, const std::string& folder) {
             without_gil([&](larix::Status* disk) {
               *disk = self.open_tier(folder);
               return 0;
             });
           })
      .def("spill",
           [](Store& self, uint32_t table, const Ids& ids) {
             const std::span<const int64_t> keys(ids.data(), ids.shape(0));
             return without_gil([&](larix::Status* disk) { return self.spill(table, keys, disk); });
           })
      // (rows, bytes, segments, memory, spilled, recalled, pages read, pages read in vain, bytes compacted, trouble)
      .def("cold_counts",
           [](const Store& self) {
             const auto [c, trouble] = self.cold_counts();
             return std::tuple(c.rows, c.bytes, c.segments, c.memory, c.spilled, c.taken, c.pages_read, c.pages_vain,
                               c.compacted, trouble);
           })
      // ----
      .def("borrow", [](Store& self, uintptr_t team) { self.borrow(reinterpret_cast<larix::Team>(team)); })
      .def("clock", &Store::clock, nb::call_guard<nb::gil_scoped_release>())
      .def("set_clock", &Store::set_clock, nb::call_guard<nb::gil_scoped_release>())
      .def_static("least_bytes", &Store::least_bytes)
      // (rows, bytes, lookups, inserted, missing, refused, lost, evicted)
      .def("counts", [](const Store& self) {
        const larix::Counts counts = self.counts();
        return std::tuple(counts.rows, counts.bytes, counts.lookups, counts.inserted, counts.missing, counts.refused,
                          counts.lost, counts.evicted);
      });
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------

NB_MODULE(_native, m) {
  m.doc() = "larix native core";
  nb::set_leak_warnings(false);  // a store that is alive when the interpreter ends is no mistake of the user's
  bind_optimizers(m);
  bind_embedding(m);
  bind_replica(m);
  bind_columns(m);
  bind_features(m);
  bind_feed(m);
  bind_page(m);
}
