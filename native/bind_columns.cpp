// A request's values, as Python has them, to columns of Arrow's C data interface,
// https://arrow.apache.org/docs/format/CDataInterface.html. Takes what is plainly of a column's type and gives up at
// anything else, without a word: columns.py then tells what it is. Values are read with the GIL held, no Python runs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
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
#include <unordered_map>
#include <utility>
#include <vector>

#include "bind.hpp"

namespace nb = nanobind;

extern "C" struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};

namespace {

struct Kind;

// A column in the making. ``values``: numbers as they are, a byte for a boolean, or text end to end. ``ends``: of text
// and lists.
struct Column {
  const Kind* kind = nullptr;
  int64_t size = 0;
  std::vector<int64_t> nulls;
  std::vector<char> values;
  std::vector<int32_t> ends;
  std::vector<uint8_t> valid;
  std::unique_ptr<Column> elements;
  const void* buffers[3] = {};
  ArrowArray array{};
  ArrowArray* children[1] = {};
};

// What adds so many values to a column; false if one is not plainly of its type.
using Add = bool(Column&, PyObject* const*, Py_ssize_t);

enum class Form { numbers, booleans, text };

struct Kind {
  Add* add;
  Form form;
};

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
  const size_t before = column.values.size();
  column.values.resize(before + static_cast<size_t>(count) * sizeof(T));
  T* out = reinterpret_cast<T*>(column.values.data() + before);
  for (Py_ssize_t at = 0; at < count; ++at) {
    if (items[at] == Py_None) {
      column.nulls.push_back(column.size + at);
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
  if (column.ends.empty()) column.ends.push_back(0);
  for (Py_ssize_t at = 0; at < count; ++at) {
    if (items[at] == Py_None) {
      column.nulls.push_back(column.size + at);
    } else {
      Py_ssize_t size = 0;
      const char* found = read(items[at], &size);
      if (found == nullptr) return false;
      column.values.insert(column.values.end(), found, found + size);
      if (column.values.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) return false;
    }
    column.ends.push_back(static_cast<int32_t>(column.values.size()));
  }
  column.size += count;
  return true;
}

bool add_lists(Column& column, PyObject* const* items, Py_ssize_t count) {
  Column& elements = *column.elements;
  column.ends.push_back(0);
  for (Py_ssize_t at = 0; at < count; ++at) {
    if (items[at] == Py_None) {
      column.nulls.push_back(at);
    } else {
      if (!PyList_CheckExact(items[at])) return false;
      auto* list = reinterpret_cast<PyListObject*>(items[at]);
      if (!elements.kind->add(elements, list->ob_item, Py_SIZE(list))) return false;
      if (elements.size > std::numeric_limits<int32_t>::max()) return false;
    }
    column.ends.push_back(static_cast<int32_t>(elements.size));
  }
  column.size += count;
  return true;
}

template <class T>
constexpr Kind integers{&add_numbers<T, integer<T>>, Form::numbers};

const std::unordered_map<std::string, Kind> kinds = {
    {"bool", {&add_numbers<char, boolean>, Form::booleans}},
    {"int8", integers<int8_t>},
    {"int16", integers<int16_t>},
    {"int32", integers<int32_t>},
    {"int64", integers<int64_t>},
    {"uint8", integers<uint8_t>},
    {"uint16", integers<uint16_t>},
    {"uint32", integers<uint32_t>},
    {"uint64", integers<uint64_t>},
    {"float32", {&add_numbers<float, real<float>>, Form::numbers}},
    {"float64", {&add_numbers<double, real<double>>, Form::numbers}},
    {"string", {&add_text<text_of>, Form::text}},
    {"binary", {&add_text<bytes_of>, Form::text}},
};

void let_go(ArrowArray* array) { array->release = nullptr; }  // of a column: what it holds goes with the batch

std::vector<char> bits(const std::vector<char>& bytes) {
  std::vector<char> found((bytes.size() + 7) / 8);
  for (size_t at = 0; at < bytes.size(); ++at)
    found[at / 8] = static_cast<char>(found[at / 8] | bytes[at] << at % 8);
  return found;
}

// Nothing is added to the column any more: ``array`` tells where it lies.
void finish(Column& column) {
  ArrowArray& array = column.array;
  if (!column.nulls.empty()) {
    column.valid.assign(static_cast<size_t>(column.size + 7) / 8, 0xff);
    for (const int64_t at : column.nulls)
      column.valid[static_cast<size_t>(at) / 8] &= static_cast<uint8_t>(~(1 << at % 8));
    column.buffers[0] = column.valid.data();
  }
  array.length = column.size;
  array.null_count = static_cast<int64_t>(column.nulls.size());
  array.n_buffers = 2;
  if (column.elements != nullptr) {
    finish(*column.elements);
    column.children[0] = &column.elements->array;
    array.n_children = 1;
    array.children = column.children;
    column.buffers[1] = column.ends.data();
  } else if (column.kind->form == Form::text) {
    if (column.ends.empty()) column.ends.push_back(0);
    array.n_buffers = 3;
    column.buffers[1] = column.ends.data();
    column.buffers[2] = column.values.data();
  } else {
    if (column.kind->form == Form::booleans) column.values = bits(column.values);
    column.buffers[1] = column.values.data();
  }
  array.buffers = column.buffers;
  array.release = &let_go;
}

struct Batch {
  std::vector<Column> columns;
  std::vector<ArrowArray*> children;
  const void* buffers[1] = {};
};

void release(ArrowArray* array) {
  delete static_cast<Batch*>(array->private_data);
  array->release = nullptr;
}

// The columns of one schema, ready to take values.
class Columns {
 public:
  // ``typed``: each column's name and the type that columns.py calls so.
  explicit Columns(const std::vector<std::tuple<std::string, std::string>>& typed) {
    for (const auto& [name, type] : typed) {
      const bool lists = type.starts_with("list<");
      const auto kind = kinds.find(lists ? type.substr(5, type.size() - 6) : type);
      if (kind == kinds.end()) throw nb::value_error("no such type of a column");
      fields_.push_back({nb::str(name.c_str()), &kind->second, lists});
    }
  }

  // A batch of ``values``, each a list of as many rows, or, for one row, a value: where its ArrowArray is, until this
  // thread's next call, and how many are null by column. A column that is not given, or is None, is null. Nothing if a
  // value is not plainly of its column's type.
  std::optional<std::tuple<uintptr_t, nb::dict>> take(const nb::dict& values, bool row) const {
    auto batch = std::make_unique<Batch>();
    batch->columns.resize(fields_.size());
    batch->children.reserve(fields_.size());
    std::vector<PyObject*> given;
    given.reserve(fields_.size());
    Py_ssize_t rows = row ? 1 : -1;
    for (const Field& field : fields_) {
      PyObject* value = PyDict_GetItem(values.ptr(), field.name.ptr());
      given.push_back(value == nullptr ? Py_None : value);
      if (row || given.back() == Py_None) continue;
      if (!PyList_CheckExact(value) || (rows >= 0 && rows != PyList_GET_SIZE(value))) return std::nullopt;
      rows = PyList_GET_SIZE(value);
    }
    if (rows < 0) return std::nullopt;
    const std::vector<PyObject*> nothing(row ? 0 : static_cast<size_t>(rows), Py_None);
    nb::dict nulls;
    for (size_t at = 0; at < fields_.size(); ++at) {
      const Field& field = fields_[at];
      Column& column = batch->columns[at];
      column.kind = field.kind;
      if (field.lists) {
        column.elements = std::make_unique<Column>();
        column.elements->kind = field.kind;
      }
      PyObject* const* items = &given[at];
      if (!row) items = given[at] == Py_None ? nothing.data() : reinterpret_cast<PyListObject*>(given[at])->ob_item;
      if (!(field.lists ? add_lists : *field.kind->add)(column, items, rows)) return std::nullopt;
      finish(column);
      batch->children.push_back(&column.array);
      if (!column.nulls.empty()) nulls[field.name] = column.nulls.size();
    }
    thread_local ArrowArray taken{};
    if (taken.release != nullptr) taken.release(&taken);  // whoever asked before did not take it
    taken = ArrowArray{};
    taken.length = rows;
    taken.n_buffers = 1;
    taken.n_children = static_cast<int64_t>(batch->children.size());
    taken.buffers = batch->buffers;
    taken.children = batch->children.data();
    taken.release = &release;
    taken.private_data = batch.release();
    return std::make_tuple(reinterpret_cast<uintptr_t>(&taken), nulls);
  }

 private:
  struct Field {
    nb::str name;
    const Kind* kind;
    bool lists;
  };
  std::vector<Field> fields_;
};

}  // namespace

void bind_columns(nb::module_& m) {
  nb::class_<Columns>(m, "Columns")
      .def(nb::init<const std::vector<std::tuple<std::string, std::string>>&>(), nb::arg("typed"))
      .def("take", &Columns::take, nb::arg("values"), nb::arg("row"));
}
