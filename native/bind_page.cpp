// A page's items as JSON, out of the arrays of an answer.
#include <nanobind/stl/vector.h>

#include "bind.hpp"
#include "bind_slots.hpp"
#include "page.hpp"

namespace {

using Texts = std::vector<nb::bytes>;

std::vector<std::string_view> views(const Texts& texts) {
  std::vector<std::string_view> found;
  for (const nb::bytes& each : texts) found.emplace_back(each.c_str(), each.size());
  return found;
}

nb::bytes written(const int64_t* items, const Texts& told, const Array<const int64_t, 1>& order, const Array<const double, 1>& value,
                  const std::vector<Array<const float, 1>>& scores, const Texts& names) {
  larix::PageItems page{order.shape(0), items, views(told), order.data(), value.data(), {}, views(names)};
  for (size_t at = 0; at < order.shape(0); ++at)
    if (order(at) < 0 || static_cast<size_t>(order(at)) >= value.shape(0)) throw nb::index_error("no such candidate");
  for (const auto& each : scores) {
    if (each.shape(0) != value.shape(0)) throw nb::value_error("a score a candidate is expected");
    page.scores.push_back(each.data());
  }
  if (names.size() != scores.size()) throw nb::value_error("a name a task is expected");
  larix::Bytes out;
  {
    const nb::gil_scoped_release release;
    larix::push_items(out, page);
  }
  return nb::bytes(out.data(), out.size());
}

}  // namespace

void bind_page(nb::module_& m) {
  m.def("page", [](const Array<const int64_t, 1>& items, const Array<const int64_t, 1>& order, const Array<const double, 1>& value,
                   const std::vector<Array<const float, 1>>& scores, const Texts& names) {
    if (items.shape(0) != order.shape(0)) throw nb::value_error("an item a place is expected");
    return written(items.data(), {}, order, value, scores, names);
  });
  m.def("page", [](const Texts& items, const Array<const int64_t, 1>& order, const Array<const double, 1>& value,
                   const std::vector<Array<const float, 1>>& scores, const Texts& names) {
    if (items.size() != order.shape(0)) throw nb::value_error("an item a place is expected");
    return written(nullptr, items, order, value, scores, names);
  });
}
