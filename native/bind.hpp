// What each file that knows Python adds to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace larix {
class Status;
class Store;
}

// Raises an error of larix.errors if a status is not good.
void raise(const larix::Status& status, const char* error = "StorageError");

void bind_columns(nanobind::module_& m);
void bind_features(nanobind::module_& m);
void bind_feed(nanobind::module_& m);
void bind_page(nanobind::module_& m);
void bind_replica(nanobind::module_& m);
void bind_snapshot(nanobind::module_& m, nanobind::class_<larix::Store>& store);
