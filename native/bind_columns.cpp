// A request's values, as Python or JSON has them, to columns of Arrow's C data interface. Takes what is plainly of a
// column's type and gives up at anything else, without a word: columns.py then tells what it is. Python's values are read
// with the GIL held, no Python runs; what is long of the others without it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "columns.hpp"
#include "json_columns.hpp"
#include "tensors.hpp"

namespace nb = nanobind;

namespace {

using larix::Batch;
using larix::Column;
using larix::Field;

// What adds so many values to a column; false if one is not plainly of its type.
using Add = bool(Column&, PyObject* const*, Py_ssize_t);

template <class T>
bool integer(PyObject* value, T* out) {
  if (!PyLong_CheckExact(value)) return false;
  int beyond = 0;
  const long long found = PyLong_AsLongLongAndOverflow(value, &beyond);
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (beyond > 0) {
      const unsigned long long large = PyLong_AsUnsignedLongLong(value);
      if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        return false;
      }
      *out = large;
      return true;
    }
    if (beyond < 0 || found < 0) return false;
  } else {
    if (beyond != 0 || found < static_cast<long long>(std::numeric_limits<T>::min()) ||
        found > static_cast<long long>(std::numeric_limits<T>::max()))
      return false;
  }
  *out = static_cast<T>(found);
  return true;
}

template <class T>
bool real(PyObject* value, T* out) {
  if (PyFloat_CheckExact(value)) {
    *out = static_cast<T>(PyFloat_AS_DOUBLE(value));  // what is beyond 32 bits is infinite in them
    return true;
  }
  if (!PyLong_CheckExact(value)) return false;
  constexpr long long exact = 1LL << std::numeric_limits<T>::digits;  // from there on integers are skipped
  int beyond = 0;
  const long long found = PyLong_AsLongLongAndOverflow(value, &beyond);
  if (beyond != 0 || found > exact || found < -exact) return false;
  *out = static_cast<T>(found);
  return true;
}

bool boolean(PyObject* value, char* out) {
  *out = value == Py_True;
  return PyBool_Check(value);
}

template <class T, bool (*read)(PyObject*, T*)>
bool add_numbers(Column& column, PyObject* const* items, Py_ssize_t count) {
  T* out = reinterpret_cast<T*>(column.values.add(static_cast<size_t>(count) * sizeof(T)));
  for (Py_ssize_t at = 0; at < count; ++at) {
    if (items[at] == Py_None) {
      column.nulls.push_back(column.size + at);
      out[at] = T{};
    } else if (!read(items[at], out + at)) {
      return false;
    }
  }
  column.size += count;
  return true;
}

const char* text_of(PyObject* value, Py_ssize_t* size) {
  const char* found = PyUnicode_CheckExact(value) ? PyUnicode_AsUTF8AndSize(value, size) : nullptr;
  if (found == nullptr) PyErr_Clear();  // half a surrogate pair
  return found;
}

const char* bytes_of(PyObject* value, Py_ssize_t* size) {
  if (!PyBytes_CheckExact(value)) return nullptr;
  *size = PyBytes_GET_SIZE(value);
  return PyBytes_AS_STRING(value);
}

template <const char* (*read)(PyObject*, Py_ssize_t*)>
bool add_text(Column& column, PyObject* const* items, Py_ssize_t count) {
  for (Py_ssize_t at = 0; at < count; ++at) {
    if (items[at] == Py_None) {
      column.add_null();
      continue;
    }
    Py_ssize_t size = 0;
    const char* found = read(items[at], &size);
    if (found == nullptr) return false;
    if (size != 0) std::memcpy(column.values.add(static_cast<size_t>(size)), found, static_cast<size_t>(size));
    if (!column.end()) return false;
  }
  return true;
}

constexpr Add* kAdds[] = {&add_numbers<char, boolean>,
                          &add_numbers<int8_t, integer<int8_t>>,
                          &add_numbers<int16_t, integer<int16_t>>,
                          &add_numbers<int32_t, integer<int32_t>>,
                          &add_numbers<int64_t, integer<int64_t>>,
                          &add_numbers<uint8_t, integer<uint8_t>>,
                          &add_numbers<uint16_t, integer<uint16_t>>,
                          &add_numbers<uint32_t, integer<uint32_t>>,
                          &add_numbers<uint64_t, integer<uint64_t>>,
                          &add_numbers<float, real<float>>,
                          &add_numbers<double, real<double>>,
                          &add_text<text_of>,
                          &add_text<bytes_of>};

bool add(Column& column, PyObject* const* items, Py_ssize_t count) {
  Add* const plainly = kAdds[static_cast<size_t>(column.type)];
  if (column.elements == nullptr) return plainly(column, items, count);
  for (Py_ssize_t at = 0; at < count; ++at) {
    if (items[at] == Py_None) {
      column.add_null();
      continue;
    }
    if (!PyList_CheckExact(items[at])) return false;
    auto* list = reinterpret_cast<PyListObject*>(items[at]);
    if (!plainly(*column.elements, list->ob_item, Py_SIZE(list)) || !column.end()) return false;
  }
  return true;
}

// Bytes of JSON, and of tensors, that are sooner read than the GIL is given away and had again.
constexpr size_t kShortJson = 16 << 10, kShortTensors = 512 << 10;

// Does ``work``, without the GIL if that is ``long_``.
bool done(bool long_, const auto& work) {
  if (!long_) return work();
  const nb::gil_scoped_release released;
  return work();
}

std::vector<Field> fields_of(const std::vector<std::tuple<std::string, std::string>>& typed) {
  std::vector<Field> fields;
  for (const auto& [name, type] : typed) {
    const bool lists = type.starts_with("list<");
    const auto known = larix::type_of(lists ? type.substr(5, type.size() - 6) : type);
    if (!known) throw nb::value_error("no such type of a column");
    fields.push_back({name, *known, lists});
  }
  return fields;
}

// Where a batch's ArrowArray is, until this thread's next call, and how many values are null by column.
using Taken = std::optional<std::tuple<uintptr_t, nb::dict>>;

// The columns of one schema, ready to take values: nothing if one is not plainly of its column's type. What is not given is
// null.
class Columns {
 public:
  // ``typed``: each column's name and the type that columns.py calls so.
  explicit Columns(const std::vector<std::tuple<std::string, std::string>>& typed) : reader_(fields_of(typed)) {
    for (const Field& field : reader_.fields()) names_.push_back(nb::str(field.name.data(), field.name.size()));
  }

  // ``values``: each a list of as many rows, or, for one row, a value. None is null.
  Taken take(const nb::dict& values, bool row) const {
    auto batch = std::make_unique<Batch>(reader_.fields());
    std::vector<PyObject*> given;
    given.reserve(names_.size());
    Py_ssize_t rows = row ? 1 : -1;
    for (const nb::str& name : names_) {
      PyObject* value = PyDict_GetItem(values.ptr(), name.ptr());
      given.push_back(value == nullptr ? Py_None : value);
      if (row || given.back() == Py_None) continue;
      if (!PyList_CheckExact(value) || (rows >= 0 && rows != PyList_GET_SIZE(value))) return std::nullopt;
      rows = PyList_GET_SIZE(value);
    }
    if (rows < 0) return std::nullopt;
    const std::vector<PyObject*> nothing(row ? 0 : static_cast<size_t>(rows), Py_None);
    for (size_t at = 0; at < names_.size(); ++at) {
      PyObject* const* items = &given[at];
      if (!row) items = given[at] == Py_None ? nothing.data() : reinterpret_cast<PyListObject*>(given[at])->ob_item;
      if (!add(batch->columns[at], items, rows)) return std::nullopt;
    }
    return taken(std::move(batch), rows);
  }

  // One row of objects, the parts of ``json`` from and to where each of ``spans`` says. ``time``: the column that is ``now``
  // where it is not given; -1 is none.
  Taken row(const nb::bytes& json, const std::vector<std::pair<size_t, size_t>>& spans, int64_t time, int64_t now) const {
    std::vector<std::string_view> objects;
    size_t size = 0;
    for (const auto& span : spans) size += objects.emplace_back(part(json, span)).size();
    auto batch = std::make_unique<Batch>(reader_.fields());
    const auto read = [&] { return reader_.row(objects, time, now, *batch); };
    if (!done(size > kShortJson, read)) return std::nullopt;
    return taken(std::move(batch), 1);
  }

  // The candidates that the part of ``json`` holds, at most ``most``: objects, or lists by column, ``item`` among them.
  Taken rows(const nb::bytes& json, std::pair<size_t, size_t> span, int64_t item, int64_t most) const {
    const std::string_view candidates = part(json, span);
    auto batch = std::make_unique<Batch>(reader_.fields());
    int64_t rows = 0;
    const auto read = [&] { return reader_.rows(candidates, item, most, *batch, &rows); };
    if (!done(candidates.size() > kShortJson, read)) return std::nullopt;
    return taken(std::move(batch), rows);
  }

  const larix::json::Reader& reader() const { return reader_; }

  // ``which``: of the batches that one call hands over.
  Taken taken(std::unique_ptr<Batch> batch, int64_t rows, size_t which = 0) const {
    nb::dict nulls;
    for (size_t at = 0; at < names_.size(); ++at)
      if (const auto& found = batch->columns[at].nulls; !found.empty()) nulls[names_[at]] = found.size();
    thread_local ArrowArray arrays[2]{};
    ArrowArray& array = arrays[which];
    if (array.release != nullptr) array.release(&array);  // whoever asked before did not take it
    array = larix::handed_over(std::move(batch), rows);
    return std::make_tuple(reinterpret_cast<uintptr_t>(&array), nulls);
  }

  static std::string_view part(const nb::bytes& json, const std::pair<size_t, size_t>& span) {
    if (span.first > span.second || span.second > json.size()) throw nb::index_error("not within the document");
    return {json.c_str() + span.first, span.second - span.first};
  }

 private:
  larix::json::Reader reader_;
  std::vector<nb::str> names_;
};

// A Python object that goes with the last that has this; whoever lets go of it need not have the GIL.
std::shared_ptr<const void> kept(const nb::object& object) {
  return {object.inc_ref().ptr(), [](const void* mine) {
            if (!nb::is_alive()) return;
            const nb::gil_scoped_acquire held;
            Py_DECREF(static_cast<PyObject*>(const_cast<void*>(mine)));
          }};
}

using Two = std::optional<std::pair<Taken, Taken>>;

// The context and the candidates that ``read`` finds in ``body``, which lives as long as they do.
Two of_tensors(const Columns& context, const Columns& candidates, const nb::bytes& body, const auto& read) {
  auto own = std::make_unique<Batch>(context.reader().fields()), theirs = std::make_unique<Batch>(candidates.reader().fields());
  int64_t rows = 0;
  if (!done(body.size() > kShortTensors, [&] { return read(*own, *theirs, &rows); })) return std::nullopt;
  own->owner = theirs->owner = kept(body);
  return std::make_pair(context.taken(std::move(own), 1), candidates.taken(std::move(theirs), rows, 1));
}

// ``inputs`` is where the JSON of ``body`` tells of tensors, which begin at ``data``. See ``tensors.hpp``.
Two tensors(const Columns& context, const Columns& candidates, const nb::bytes& body, const std::pair<size_t, size_t>& inputs,
            size_t data, int64_t item, int64_t most, int64_t time, int64_t now) {
  const std::string_view told = Columns::part(body, inputs), rest = Columns::part(body, {data, body.size()});
  return of_tensors(context, candidates, body, [&](Batch& own, Batch& theirs, int64_t* rows) {
    return larix::oip::read(told, rest, context.reader(), candidates.reader(), {item, most, time, now}, own, theirs, rows);
  });
}

// As `tensors`, of a ModelInferRequest.
Two message_tensors(const Columns& context, const Columns& candidates, const nb::bytes& message, int64_t item, int64_t most,
                    int64_t time, int64_t now) {
  const std::string_view told(message.c_str(), message.size());
  return of_tensors(context, candidates, message, [&](Batch& own, Batch& theirs, int64_t* rows) {
    return larix::oip::read_message(told, context.reader(), candidates.reader(), {item, most, time, now}, own, theirs, rows);
  });
}

// A ModelInferRequest without its tensors; nothing if it is no message, or one of more than ``most`` fields.
std::optional<nb::bytes> message_rest(const nb::bytes& message, int64_t most) {
  std::string rest;
  if (!larix::oip::rest_of({message.c_str(), message.size()}, most, &rest)) return std::nullopt;
  return nb::bytes(rest.data(), rest.size());
}

using Span = std::optional<std::pair<size_t, size_t>>;

// The document without what stands for ``names``, and where that is; nothing if it cannot be told plainly.
std::optional<std::pair<nb::bytes, std::vector<Span>>> parted(const nb::bytes& document,
                                                              const std::vector<std::string>& names) {
  std::string rest;
  std::vector<std::string_view> values;
  const std::string_view whole(document.c_str(), document.size());
  const auto cut = [&] { return larix::json::parted(whole, names, &values, &rest); };
  if (!done(whole.size() > kShortTensors, cut)) return std::nullopt;  // by brackets, as quick as tensors
  std::vector<Span> spans;
  for (const std::string_view value : values) {
    Span& span = spans.emplace_back();
    if (value.empty()) continue;  // it is nowhere in the document
    const auto begin = static_cast<size_t>(value.data() - document.c_str());
    span = {begin, begin + value.size()};
  }
  return std::make_pair(nb::bytes(rest.data(), rest.size()), spans);
}

}  // namespace

void bind_columns(nb::module_& m) {
  nb::class_<Columns>(m, "Columns")
      .def(nb::init<const std::vector<std::tuple<std::string, std::string>>&>(), nb::arg("typed"))
      .def("take", &Columns::take, nb::arg("values"), nb::arg("row"))
      .def("row", &Columns::row, nb::arg("json"), nb::arg("spans"), nb::arg("time"), nb::arg("now"))
      .def("rows", &Columns::rows, nb::arg("json"), nb::arg("span"), nb::arg("item"), nb::arg("most"));
  m.def("tensors", &tensors);
  m.def("message_tensors", &message_tensors);
  m.def("message_rest", &message_rest);
  m.def("parted", &parted, nb::arg("document"), nb::arg("names"));
}
