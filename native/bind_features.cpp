// The door of features/kernels.py: checks arguments, drops the GIL, calls the feature kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>

#include "bind.hpp"
#include "features.hpp"
#include "features_transform.hpp"

namespace nb = nanobind;

namespace {

namespace lf = larix::features;

template <class T>
using Array1 = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MaybeInts = std::optional<Array1<const int64_t>>;

// Work on few elements keeps the GIL: taking it back costs more than the work, above all while other threads wait for it.
class WithoutGil {
 public:
  explicit WithoutGil(int64_t elements) {
    if (elements > 4096) release_.emplace();
  }

 private:
  std::optional<nb::gil_scoped_release> release_;
};

void expect(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// The ranges that two optional arrays describe, checked against each other, the column and the output.
lf::Ranges ranges_of(const lf::Column& column, const MaybeInts& starts, const MaybeInts& offsets, size_t out) {
  expect(starts.has_value() == offsets.has_value(), "give both starts and offsets, or neither");
  if (!starts) {
    expect(static_cast<int64_t>(out) >= column.length, "the output is shorter than the column");
    return {nullptr, nullptr, 0};
  }
  expect(offsets->size() == starts->size() + 1, "offsets must be one longer than starts");
  expect(static_cast<int64_t>(out) >= offsets->data()[starts->size()], "the output is shorter than the ranges");
  return {starts->data(), offsets->data(), static_cast<int64_t>(starts->size())};
}

int64_t elements(const lf::Column& column, const lf::Ranges& ranges) {
  return ranges.starts == nullptr ? column.length : ranges.offsets[ranges.rows];
}

// The record batch in a capsule of the Arrow PyCapsule interface, which goes on owning it.
const lf::ArrowArray& batch_of(const nb::capsule& capsule, const lf::Transform& plan) {
  const auto* batch = static_cast<const lf::ArrowArray*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array"));
  if (batch == nullptr) throw nb::python_error();
  expect(batch->release != nullptr && plan.fits(*batch), "the record batch is not of the schema that was planned for");
  return *batch;
}

using Threes = nb::ndarray<int64_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Ints2 = nb::ndarray<int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void expect_lists(const lf::Transform& plan, const lf::ArrowArray& batch, const Ints2& starts, const Ints2& offsets) {
  const auto rows = static_cast<size_t>(batch.length);
  expect(starts.shape(0) == plan.lists() && offsets.shape(0) == plan.lists() + plan.gaps(),
         "there must be ranges for every list column, and offsets for every slot with gaps");
  expect(starts.shape(1) == rows && offsets.shape(1) == rows + 1, "starts must have one entry a row, and offsets one more");
}

void bind_transform(nb::module_& m) {
  using lf::Transform;
  using What = Transform::What;
  const auto flat = [](const Transform& self, int source) {
    expect(source >= 0 && static_cast<size_t>(source) < self.sources().size(), "there is no such column");
    return self.sources()[static_cast<size_t>(source)];
  };
  const auto number = [flat](const Transform& self, int source, int matrix, int index) {
    expect(flat(self, source).kind < lf::Kind::text32, "a string is no number");
    expect(matrix >= 0 && static_cast<size_t>(matrix) < self.matrices().size(), "there is no such matrix");
    const auto& [of, width] = self.matrices()[static_cast<size_t>(matrix)];
    expect(index >= 0 && index < width, "the output has no such column");
    const bool listed = flat(self, source).width != 0;
    expect(listed == (of >= 0), "a matrix holds numbers of rows or of one list");
  };
  const auto time = [flat](const Transform& self, int source, int64_t mul, int64_t div) {
    expect(flat(self, source).kind < lf::Kind::f32 && mul > 0 && div > 0, "a time is a whole number of ticks");
  };
  // A plan, see features_transform.hpp: what is added gives its number.
  nb::class_<Transform>(m, "Transform")
      .def(nb::init<>())
      .def("source",
           [](Transform& self, size_t child, lf::Kind kind, int width, int64_t newest, int like) {
             expect(width == 0 || width == 4 || width == 8, "offsets have 4 or 8 bytes");
             expect(like < static_cast<int>(self.sources().size()), "there is no such column");
             expect(like < 0 || self.sources()[static_cast<size_t>(like)].width, "only lists are as long as others");
             return self.add(Transform::Source{.child = child, .kind = kind, .width = width, .newest = newest, .like = like});
           })
      .def("matrix",
           [flat](Transform& self, int source, int64_t width) {
             expect(source < 0 || flat(self, source).width, "a matrix is of rows or of a list's elements");
             return self.add(Transform::Matrix{source, width});
           })
      .def("ids",
           [flat](Transform& self, int source) {
             const lf::Kind kind = flat(self, source).kind;
             expect(kind != lf::Kind::f32 && kind != lf::Kind::f64, "a float is no id");
             return self.add(Transform::Step{.what = What::ids, .source = source});
           })
      .def("cross",
           [flat](Transform& self, int left, int right) {
             expect(!flat(self, left).width && !flat(self, right).width, "ids are crossed of rows");
             return self.add(Transform::Step{.what = What::cross, .source = left, .other = right});
           })
      .def("buckets",
           [flat](Transform& self, int source, std::vector<double> edges) {
             expect(flat(self, source).kind < lf::Kind::text32 && !flat(self, source).width, "buckets are of a row's number");
             return self.add(Transform::Step{.what = What::buckets, .source = source, .edges = std::move(edges)});
           })
      .def("time_parts",
           [flat, time](Transform& self, int source, int64_t mul, int64_t div, lf::Part part, int64_t shift_ms) {
             time(self, source, mul, div);
             expect(!flat(self, source).width, "parts are of a row's time");
             return self.add(Transform::Step{
                 .what = What::time_parts, .source = source, .mul = mul, .div = div, .shift_ms = shift_ms, .part = part});
           })
      .def("times",
           [flat, time](Transform& self, int source, int64_t mul, int64_t div) {
             time(self, source, mul, div);
             expect(!flat(self, source).width, "the time is a row's");
             return self.add(Transform::Step{.what = What::times, .source = source, .mul = mul, .div = div});
           })
      .def("dense",
           [number](Transform& self, int source, double low, double high, bool log, double mean, double std, lf::Fill fill,
                    double fill_value, int matrix, int index) {
             number(self, source, matrix, index);
             return self.add(Transform::Step{.what = What::dense,
                                             .source = source,
                                             .dense = {low, high, log, mean, std, fill, fill_value},
                                             .matrix = matrix,
                                             .index = index});
           })
      .def("log_ages",
           [number, time](Transform& self, int source, int64_t mul, int64_t div, int now, int matrix, int index) {
             number(self, source, matrix, index);
             time(self, source, mul, div);
             expect(now >= 0 && static_cast<size_t>(now) < self.steps().size() &&
                        self.steps()[static_cast<size_t>(now)].what == What::times,
                    "ages are until a time");
             return self.add(Transform::Step{.what = What::log_ages,
                                             .source = source,
                                             .other = now,
                                             .mul = mul,
                                             .div = div,
                                             .matrix = matrix,
                                             .index = index});
           })
      .def("slot",
           [](Transform& self, int step, bool gaps) {
             expect(0 <= step && static_cast<size_t>(step) < self.steps().size(), "there is no such step");
             const Transform::Step& of = self.steps()[static_cast<size_t>(step)];
             const bool listed = self.sources()[static_cast<size_t>(of.source)].width != 0;
             expect(of.matrix < 0 && !(gaps && listed), "a slot is of whole numbers, one with gaps of a flat column");
             self.add(Transform::Ids{.step = step, .gaps = gaps});
           })
      .def("measure",
           [](const Transform& self, const nb::capsule& capsule, const Ints2& starts, const Ints2& offsets) {
             const lf::ArrowArray& batch = batch_of(capsule, self);
             expect_lists(self, batch, starts, offsets);
             WithoutGil quiet(batch.length * static_cast<int64_t>(self.lists()));
             return self.measure(batch, starts.data(), offsets.data());
           })
      .def("run", [](const Transform& self, const nb::capsule& capsule, const std::vector<int64_t>& bytes, const Ints2& starts,
                     const Ints2& offsets, Array1<int64_t> ints, Array1<uint8_t> known, Array1<float> floats,
                     const Threes& statuses, const Threes& found) {
        const lf::ArrowArray& batch = batch_of(capsule, self);
        expect_lists(self, batch, starts, offsets);
        expect(bytes.size() == self.sources().size(), "there must be a size for every column");
        expect(statuses.shape(0) == self.steps().size(), "there must be a status for every read");
        expect(found.shape(0) == self.slots().size(), "there must be a place for every slot");
        const int64_t whole = self.ints(batch.length, offsets.data()), numbers = self.floats(batch.length, offsets.data());
        expect(static_cast<int64_t>(ints.size()) == whole && known.size() == ints.size(), "the output is of another size");
        expect(static_cast<int64_t>(floats.size()) == numbers, "the output is of another size");
        WithoutGil quiet(whole + numbers);
        return self.run(batch, bytes.data(), starts.data(), offsets.data(), ints.data(), known.data(), floats.data(),
                        reinterpret_cast<lf::Status*>(statuses.data()), reinterpret_cast<Transform::Found*>(found.data()));
      });
}

}  // namespace

void bind_features(nb::module_& m) {
  nb::enum_<lf::Kind>(m, "Kind")
      .value("boolean", lf::Kind::boolean)
      .value("i8", lf::Kind::i8)
      .value("u8", lf::Kind::u8)
      .value("i16", lf::Kind::i16)
      .value("u16", lf::Kind::u16)
      .value("i32", lf::Kind::i32)
      .value("u32", lf::Kind::u32)
      .value("i64", lf::Kind::i64)
      .value("u64", lf::Kind::u64)
      .value("f32", lf::Kind::f32)
      .value("f64", lf::Kind::f64)
      .value("text32", lf::Kind::text32)
      .value("text64", lf::Kind::text64);
  nb::enum_<lf::Fill>(m, "Fill")
      .value("value", lf::Fill::value)
      .value("mean", lf::Fill::mean)
      .value("refuse", lf::Fill::refuse);
  nb::enum_<lf::Part>(m, "Part").value("hour", lf::Part::hour).value("weekday", lf::Part::weekday);

  nb::class_<lf::Column>(m, "Column", "Addresses of an Arrow column's buffers; whoever makes one keeps the buffers alive.")
      .def("__init__", [](lf::Column* self, lf::Kind kind, uintptr_t values, uintptr_t offsets, uintptr_t validity,
                          int64_t offset, int64_t length, int64_t bytes) {
        new (self) lf::Column{kind,
                              reinterpret_cast<const void*>(values),
                              reinterpret_cast<const void*>(offsets),
                              reinterpret_cast<const uint8_t*>(validity),
                              offset,
                              length,
                              bytes};
      });
  nb::class_<lf::Lists>(m, "Lists", "Addresses of an Arrow list column's buffers; whoever makes one keeps them alive.")
      .def("__init__", [](lf::Lists* self, int width, uintptr_t offsets, int64_t fixed, uintptr_t validity, int64_t offset,
                          int64_t rows, int64_t child) {
        new (self) lf::Lists{width,
                             reinterpret_cast<const void*>(offsets),
                             fixed,
                             reinterpret_cast<const uint8_t*>(validity),
                             offset,
                             rows,
                             child};
      });

  m.def("newest_ranges", [](const lf::Lists& lists, int64_t newest, Array1<int64_t> starts, Array1<int64_t> offsets) {
    expect(static_cast<int64_t>(starts.size()) == lists.rows, "starts must have one entry a row");
    expect(offsets.size() == starts.size() + 1, "offsets must be one longer than starts");
    WithoutGil quiet(lists.rows);
    return lf::newest_ranges(lists, newest, starts.data(), offsets.data());
  });
  m.def("first_mismatch", [](const lf::Lists& a, const lf::Lists& b) {
    expect(a.rows == b.rows, "the columns must have as many rows");
    WithoutGil quiet(a.rows);
    return lf::first_mismatch(a, b);
  });
  m.def(
      "read_known",
      [](const lf::Column& column, MaybeInts starts, MaybeInts offsets, Array1<uint8_t> out) {
        const auto ranges = ranges_of(column, starts, offsets, out.size());
        WithoutGil quiet(elements(column, ranges));
        return lf::read_known(column, ranges, out.data());
      },
      nb::arg("column"), nb::arg("starts").none(), nb::arg("offsets").none(), nb::arg("out"));
  m.def(
      "read_numbers",
      [](const lf::Column& column, MaybeInts starts, MaybeInts offsets, Array1<double> out) {
        const auto ranges = ranges_of(column, starts, offsets, out.size());
        expect(column.kind < lf::Kind::text32, "a string is no number");
        WithoutGil quiet(elements(column, ranges));
        lf::read_numbers(column, ranges, out.data());
      },
      nb::arg("column"), nb::arg("starts").none(), nb::arg("offsets").none(), nb::arg("out"));
  m.def(
      "read_times",
      [](const lf::Column& column, MaybeInts starts, MaybeInts offsets, int64_t mul, int64_t div, Array1<int64_t> out) {
        const auto ranges = ranges_of(column, starts, offsets, out.size());
        expect(column.kind < lf::Kind::f32 && mul > 0 && div > 0, "a time is a whole number of ticks");
        WithoutGil quiet(elements(column, ranges));
        lf::read_times(column, ranges, mul, div, out.data());
      },
      nb::arg("column"), nb::arg("starts").none(), nb::arg("offsets").none(), nb::arg("mul"), nb::arg("div"),
      nb::arg("out"));
  m.def("pad", [](Array1<const int64_t> offsets, nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu> from,
                  nb::ndarray<bool, nb::ndim<2>, nb::c_contig, nb::device::cpu> mask,
                  nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu> out) {
    const size_t rows = mask.shape(0), length = mask.shape(1), width = from.shape(1);
    expect(offsets.size() == rows + 1, "there must be an offset more than rows");
    expect(out.shape(0) == rows && out.shape(1) == length && out.shape(2) == width, "the output is of another size");
    expect(offsets.data()[0] == 0 && offsets.data()[rows] == static_cast<int64_t>(from.shape(0)), "offsets are of other elements");
    WithoutGil quiet(static_cast<int64_t>(out.size()));
    return lf::pad(offsets.data(), static_cast<int64_t>(rows), from.data(), static_cast<int64_t>(width),
                   static_cast<int64_t>(length), mask.data(), out.data());
  });
  nb::class_<lf::Reads>(m, "Reads", "Reads to be done together; whoever adds one keeps its buffers alive until the run.")
      .def(nb::init<>())
      .def(
          "ids",
          [](lf::Reads& self, const lf::Column& column, MaybeInts starts, MaybeInts offsets, Array1<int64_t> out) {
            const auto ranges = ranges_of(column, starts, offsets, out.size());
            expect(column.kind != lf::Kind::f32 && column.kind != lf::Kind::f64, "a float is no id");
            self.add(elements(column, ranges), out.data(), [=, to = out.data()] {
              const int64_t at = lf::read_ids(column, ranges, to);
              return lf::Status{at >= 0, at, 0};
            });
          },
          nb::arg("column"), nb::arg("starts").none(), nb::arg("offsets").none(), nb::arg("out"))
      .def(
          "dense",
          [](lf::Reads& self, const lf::Column& column, MaybeInts starts, MaybeInts offsets, double low, double high,
             bool log, double mean, double std, lf::Fill fill, double fill_value, FloatMatrix out, size_t index) {
            const auto ranges = ranges_of(column, starts, offsets, out.shape(0));
            expect(index < out.shape(1), "the output has no such column");
            expect(column.kind < lf::Kind::text32, "a string is no number");
            const lf::Dense dense{low, high, log, mean, std, fill, fill_value};
            self.add(2 * elements(column, ranges), out.data(), [=, to = out.data() + index, stride = int64_t(out.shape(1))] {
              return lf::read_dense(column, ranges, dense, to, stride);
            });
          },
          nb::arg("column"), nb::arg("starts").none(), nb::arg("offsets").none(), nb::arg("low"), nb::arg("high"),
          nb::arg("log"), nb::arg("mean"), nb::arg("std"), nb::arg("fill"), nb::arg("fill_value"), nb::arg("out"),
          nb::arg("index"))
      .def("buckets",
           [](lf::Reads& self, const lf::Column& column, Array1<const double> edges, Array1<int64_t> out) {
             expect(static_cast<int64_t>(out.size()) >= column.length, "the output is shorter than the column");
             expect(column.kind < lf::Kind::text32, "a string is no number");
             self.add(column.length, out.data(), [=, from = edges.data(), count = int64_t(edges.size()), to = out.data()] {
               return lf::read_buckets(column, from, count, to);
             });
           })
      .def("cross",
           [](lf::Reads& self, const lf::Column& left, const lf::Column& right, Array1<int64_t> out) {
             expect(left.length == right.length && left.length <= int64_t(out.size()), "the lengths do not agree");
             self.add(left.length, out.data(), [=, to = out.data()] { return lf::read_cross(left, right, to); });
           })
      .def("time_parts",
           [](lf::Reads& self, const lf::Column& column, int64_t mul, int64_t div, lf::Part part, int64_t shift_ms,
              Array1<int64_t> out) {
             expect(static_cast<int64_t>(out.size()) >= column.length, "the output is shorter than the column");
             expect(column.kind < lf::Kind::f32 && mul > 0 && div > 0, "a time is a whole number of ticks");
             self.add(column.length, out.data(), [=, to = out.data()] {
               lf::read_time_parts(column, mul, div, part, shift_ms, to);
               return lf::Status{};
             });
           })
      .def("log_ages",
           [](lf::Reads& self, const lf::Column& column, Array1<const int64_t> starts, Array1<const int64_t> offsets,
              int64_t mul, int64_t div, Array1<const int64_t> now, FloatMatrix out, size_t index) {
             const auto ranges = ranges_of(column, starts, offsets, out.shape(0));
             expect(now.size() == starts.size() && index < out.shape(1), "there must be a time a row, and the column");
             expect(column.kind < lf::Kind::f32 && mul > 0 && div > 0, "a time is a whole number of ticks");
             self.add(4 * elements(column, ranges), out.data(),
                      [=, at = now.data(), to = out.data() + index, stride = int64_t(out.shape(1))] {
                        lf::read_log_ages(column, ranges, mul, div, at, to, stride);
                        return lf::Status{};
                      });
           })
      .def("run", [](const lf::Reads& self, int threads, nb::ndarray<int64_t, nb::shape<-1, 3>, nb::c_contig> out) {
        expect(out.shape(0) == self.size(), "there must be a status for every read");
        WithoutGil quiet(self.elements());
        static_assert(sizeof(lf::Status) == 3 * sizeof(int64_t));
        self.run(threads, reinterpret_cast<lf::Status*>(out.data()));
      });
  bind_transform(m);
  m.def("xxh3", [](nb::bytes text) {
    return larix::xxh3::hash(reinterpret_cast<const uint8_t*>(text.c_str()), text.size());
  });
}
