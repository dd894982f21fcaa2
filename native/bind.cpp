// The one file that knows Python: checks arguments, drops the GIL, calls the core, turns its status into an exception.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "larix native core";
}
