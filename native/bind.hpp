// What each file that knows Python adds to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace larix {
class Status;
class Store;
}

// Raises StorageError if a status is not good.
void raise(const larix::Status& status);

void bind_features(nanobind::module_& m);
void bind_replica(nanobind::module_& m);
void bind_snapshot(nanobind::module_& m, nanobind::class_<larix::Store>& store);
