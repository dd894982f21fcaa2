// The feed's door to Python: drops the GIL and calls the core. Arguments were checked by kernels.py.
#include "bind.hpp"
#include "bind_slots.hpp"
#include "diversity.hpp"

namespace {

using Choose = larix::Status(const larix::Items&, double, size_t, const larix::Page&);

template <Choose* choose>
void page(const Array<const float, 1>& relevance, const Array<const float, 2>& vectors, double weight, size_t window,
          const Array<int64_t, 1>& items, const Array<double, 1>& diversity) {
  const larix::Items given{relevance.data(), vectors.data(), vectors.shape(0), vectors.shape(1)};
  const larix::Page chosen{items.data(), diversity.data(), items.shape(0)};
  const larix::Status status = [&] {
    const nb::gil_scoped_release release;
    return choose(given, weight, window, chosen);
  }();
  raise(status, "DataError");
}

}  // namespace

void bind_feed(nb::module_& m) {
  m.def("mmr", &page<larix::mmr>);
  m.def("dpp", &page<larix::dpp>);
  m.def("ssd", &page<larix::ssd>);
}
