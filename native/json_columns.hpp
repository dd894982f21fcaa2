// A request's values as JSON has them, to columns: what is plainly of their types, without a look at it twice.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "columns.hpp"
#include "json.hpp"

namespace larix::json {

// The columns of one schema by name.
class Names {
 public:
  explicit Names(const std::vector<Field>& fields);

  // The column that is called so, -1 if none is. ``likely``: the one to look at first.
  int64_t find(std::string_view name, int64_t likely) const;

 private:
  std::vector<std::string> names_;
  std::vector<int32_t> slots_;  // by hash, a power of two of them, at most half of them taken
};

// Reads into columns of one schema. All say false where something is not plainly what it has to be: a value of another
// type or beyond its range, a name that is not known or there twice, anything that is no JSON.
class Reader {
 public:
  explicit Reader(std::vector<Field> fields) : fields_(std::move(fields)), names_(fields_) {}

  const std::vector<Field>& fields() const { return fields_; }
  const Names& names() const { return names_; }

  // Nothing more is given of a batch: columns that are shorter get nulls, ``time`` is ``now`` if it has none.
  static bool fill(int64_t rows, int64_t time, int64_t now, Batch& batch);

  // One row of all ``objects``. ``time``: the column that is ``now`` where it is not given; -1 is none.
  bool row(const std::vector<std::string_view>& objects, int64_t time, int64_t now, Batch& batch) const;

  // A list of at most ``most`` objects, a row each, or an object of as many values by column, which ``item`` has to be among.
  bool rows(std::string_view json, int64_t item, int64_t most, Batch& batch, int64_t* rows) const;

 private:
  bool object(Text& text, int64_t row, Batch& batch) const;
  bool objects(Text& text, int64_t most, Batch& batch, int64_t* rows) const;
  bool lists(Text& text, int64_t item, int64_t most, Batch& batch, int64_t* rows) const;
  bool name(Text& text, int64_t& likely) const;

  std::vector<Field> fields_;
  Names names_;
};

// Takes the objects and arrays that stand for ``names`` out of a document: ``values``, nothing where there is none; ``rest``
// is the document with empty ones in their place. Looks at no value: all parts are JSON if, and only if, the whole is. False if the
// document is no object, its names have escapes, or one of ``names`` is there twice.
bool parted(std::string_view document, const std::vector<std::string>& names, std::vector<std::string_view>* values,
            std::string* rest);

}  // namespace larix::json
