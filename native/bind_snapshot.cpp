// Snapshots and changes as Python sees them: columns become arrays without a copy.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "bind.hpp"
#include "store.hpp"

namespace nb = nanobind;

namespace {

using larix::Columns;
using larix::Store;

template <class T>
nb::object array(std::vector<T>& values, const nb::capsule& owner) {
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(values.data(), {values.size()}, owner));
}

template <class T>
nb::capsule keep(T&& value) {
  return nb::capsule(new T(std::move(value)), [](void* p) noexcept { delete static_cast<T*>(p); });
}

// (ids, weights, state, seen, score), all flat.
nb::tuple bind_columns(Columns&& given) {
  const nb::capsule owner = keep(std::move(given));
  auto& rows = *static_cast<Columns*>(owner.data());
  return nb::make_tuple(array(rows.ids, owner), array(rows.weights, owner), array(rows.state, owner),
                        array(rows.seen, owner), array(rows.score, owner));
}

}  // namespace

void bind_snapshot(nb::module_& m, nb::class_<Store>& store) {
  using larix::Snapshot;
  nb::class_<Snapshot>(m, "Snapshot")
      // (table, ids, weights, state, seen, score), flat, or None after the last. OSError if rows could not be put aside.
      .def("next",
           [](Snapshot& self) -> nb::object {
             Snapshot::Piece piece;
             int error = 0;
             {
               const nb::gil_scoped_release release;
               piece = self.next(error);
             }
             raise(self.trouble());
             if (error) {
               errno = error;
               PyErr_SetFromErrno(PyExc_OSError);
               throw nb::python_error();
             }
             if (piece.table == 0) return nb::none();
             return nb::make_tuple(piece.table) + bind_columns(std::move(piece.rows));
           })
      .def("close", &Snapshot::close, nb::call_guard<nb::gil_scoped_release>())
      // (sequence, steps, clock)
      .def("instant", [](const Snapshot& self) { return std::tuple(self.sequence(), self.steps(), self.now()); })
      // (most bytes of copies in memory so far, bytes that went to a file)
      .def("bytes", [](const Snapshot& self) { return std::tuple(self.peak_bytes(), self.spilled_bytes()); });

  store
      .def(
          "snapshot",
          [](Store& self, size_t memory, size_t piece, const std::string& folder) {
            return std::make_unique<Snapshot>(self, memory, piece, folder);
          },
          nb::keep_alive<0, 1>(), nb::call_guard<nb::gil_scoped_release>())
      // None if changes since then are not known, else ((sequence, steps, clock), [(ids, weights, state, seen, score,
      // removed) a table]).
      .def("changes",
           [](Store& self, uint32_t since) -> nb::object {
             std::optional<larix::Changes> changes;
             larix::Status disk;
             {
               const nb::gil_scoped_release release;
               changes = self.changes(since, &disk);
             }
             raise(disk);
             if (!changes) return nb::none();
             nb::list tables;
             for (size_t table = 1; table < changes->tables.size(); ++table) {
               auto& [rows, removed] = changes->tables[table];
               const nb::capsule owner = keep(std::move(removed));
               auto& ids = *static_cast<std::vector<int64_t>*>(owner.data());
               tables.append(bind_columns(std::move(rows)) + nb::make_tuple(array(ids, owner)));
             }
             return nb::make_tuple(std::tuple(changes->sequence, changes->steps, changes->now), tables);
           })
      .def("cut", &Store::cut, nb::call_guard<nb::gil_scoped_release>())
      .def("forget", &Store::forget, nb::call_guard<nb::gil_scoped_release>())
      .def("resume", &Store::resume, nb::call_guard<nb::gil_scoped_release>())
      // (sequence, since which changes are known, whether they are, steps, clock)
      .def("times", [](Store& self) {
        larix::Store::Times times;
        {
          const nb::gil_scoped_release release;
          times = self.times();
        }
        return std::tuple(times.sequence, times.kept, times.tracked, times.steps, times.now);
      });
}
