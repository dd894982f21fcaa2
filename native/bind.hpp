// What each file that knows Python adds to the module.
#pragma once

#include <nanobind/nanobind.h>

void bind_features(nanobind::module_& m);
