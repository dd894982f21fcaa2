// A transform that was planned for record batches of one schema: which column each read is of and how, and which reads are slots
// of ids, told once; then two calls a batch. Knows nothing of Python or of what is read.
#pragma once

#include <cstdint>
#include <vector>

#include "features.hpp"

namespace larix::features {

// The Arrow C data interface.
struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};

class Transform {
 public:
  // A column of the batch; with a `width`, 4 or 8 bytes an offset, a list column, of which the last `newest` elements are read,
  // and `like` is another one whose lists must be as long, or -1. Lists are numbered from 0 in the order of adding.
  struct Source {
    size_t child;
    Kind kind;
    int width = 0;
    int64_t newest = 0;
    int like = -1;
    size_t list = 0;
  };
  // Numbers of one shape: `width` of each row, or of each element of a list.
  struct Matrix {
    int source;  // of lists, or -1
    int64_t width;
  };
  enum class What { ids, cross, buckets, time_parts, times, dense, log_ages };
  struct Step {
    What what;
    int source;
    int other = -1;  // of cross another source, of log_ages the step of the times
    int64_t mul = 1, div = 1, shift_ms = 0;
    Part part = Part::hour;
    std::vector<double> edges{};
    Dense dense{};
    int matrix = -1, index = 0;
  };

  // A slot of ids: what a step writes. With `gaps` a row whose id is null has none; such slots are numbered from 0, too.
  struct Ids {
    int step;
    bool gaps;
    size_t gap = 0;
  };
  // Where a slot's ids are: among the whole numbers, from `first` on, and which row of the offsets says whose each is; -1: one
  // a row.
  struct Found {
    int64_t first, count, list;
  };

  static constexpr int64_t kUnplanned = 9;  // Status::bad: what nobody has planned for; it is to be looked at with care

  int add(Source source) {
    if (source.width) source.list = lists_++;
    sources_.push_back(source);
    return static_cast<int>(sources_.size()) - 1;
  }
  int add(Matrix matrix) {
    matrices_.push_back(matrix);
    return static_cast<int>(matrices_.size()) - 1;
  }
  int add(Step step) {
    steps_.push_back(std::move(step));
    return static_cast<int>(steps_.size()) - 1;
  }
  void add(Ids slot) {
    if (slot.gaps) slot.gap = gaps_++;
    slots_.push_back(slot);
  }

  const std::vector<Source>& sources() const { return sources_; }
  const std::vector<Matrix>& matrices() const { return matrices_; }
  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<Ids>& slots() const { return slots_; }
  size_t lists() const { return lists_; }
  size_t gaps() const { return gaps_; }

  // Whether the batch has the columns that were told.
  bool fits(const ArrowArray& batch) const {
    for (const Source& source : sources_) {
      if (static_cast<int64_t>(source.child) >= batch.n_children) return false;
      const ArrowArray& array = *batch.children[source.child];
      if (array.length != batch.length || batch.offset != 0) return false;
      if (source.width && (array.n_children != 1 || array.buffers[1] == nullptr)) return false;
      const ArrowArray& flat = source.width ? *array.children[0] : array;
      if (flat.n_buffers != (text(source.kind) ? 3 : 2) || (flat.length && flat.buffers[1] == nullptr)) return false;
    }
    return true;
  }

  // Fills `starts` [lists, rows] and of `offsets` [lists + gaps, rows + 1] those of lists; false if a list lies outside its column
  // or is not as long as the one that it must be as long as.
  bool measure(const ArrowArray& batch, int64_t* starts, int64_t* offsets) const {
    const int64_t rows = batch.length;
    for (const Source& source : sources_) {
      if (!source.width) continue;
      const Lists mine = lists(batch, source);
      const auto at = static_cast<int64_t>(source.list);
      if (newest_ranges(mine, source.newest, starts + at * rows, offsets + at * (rows + 1)) >= 0) return false;
      if (source.like >= 0 && first_mismatch(lists(batch, sources_[static_cast<size_t>(source.like)]), mine) >= 0) return false;
    }
    return true;
  }

  // How many numbers the steps write, and how many the matrices hold.
  int64_t ints(int64_t rows, const int64_t* offsets) const {
    int64_t sum = 0;
    for (const Step& step : steps_) sum += step.matrix < 0 ? count(step.source, rows, offsets) : 0;
    return sum;
  }
  int64_t floats(int64_t rows, const int64_t* offsets) const {
    int64_t sum = 0;
    for (const Matrix& matrix : matrices_) sum += matrix.width * count(matrix.source, rows, offsets);
    return sum;
  }

  // Does every step. `bytes`: of the characters of each source. Whole numbers go to `ints`, one step behind the other, and
  // beside them to `known`, where a step is of ids that may be null and `missing` of its status says that some are, whether
  // they are there; numbers to `floats`, one matrix behind the other. `found`: by slot where its ids are; a slot with gaps that
  // has some is moved together, and its row of `offsets`, behind those of lists, is written. Returns how many values are
  // missing, or -1 if something is to be looked at with care.
  int64_t run(const ArrowArray& batch, const int64_t* bytes, const int64_t* starts, int64_t* offsets, int64_t* ints,
              uint8_t* known, float* floats, Status* out, Found* found) const {
    const Status* const first = out;
    const int64_t* const begin = ints;
    const int64_t rows = batch.length;
    std::vector<Column> columns;
    std::vector<Ranges> ranges;
    for (size_t i = 0; i < sources_.size(); ++i) {
      const Source& source = sources_[i];
      const ArrowArray& array = *batch.children[source.child];
      columns.push_back(column(source.width ? *array.children[0] : array, source.kind, bytes[i]));
      const auto at = static_cast<int64_t>(source.list);
      ranges.push_back(source.width ? Ranges{starts + at * rows, offsets + at * (rows + 1), rows} : Ranges{nullptr, nullptr, 0});
    }
    std::vector<float*> matrices;
    for (const Matrix& matrix : matrices_) {
      matrices.push_back(floats);
      floats += matrix.width * count(matrix.source, rows, offsets);
    }
    std::vector<int64_t*> written;
    std::vector<const uint8_t*> there;
    int64_t missing = 0;
    bool planned = true;
    for (const Step& step : steps_) {
      const Source& source = sources_[static_cast<size_t>(step.source)];
      const Column& of = columns[static_cast<size_t>(step.source)];
      const Ranges& in = ranges[static_cast<size_t>(step.source)];
      Status status;
      written.push_back(ints);
      there.push_back(known);
      switch (step.what) {
        case What::ids:
          if (read_ids(of, in, ints) >= 0) status.bad = kUnplanned;
          if (source.width) {
            if (nulls(of, in)) status.bad = kUnplanned;
            const Lists whole = lists(batch, source);
            for (int64_t r = 0; whole.validity && r < rows; ++r) {
              status.missing += !((whole.validity[(whole.offset + r) >> 3] >> ((whole.offset + r) & 7)) & 1);
            }
          } else if (of.validity) {
            status.missing = read_known(of, in, known);
          }
          break;
        case What::cross: {
          const Column& right = columns[static_cast<size_t>(step.other)];
          status = read_cross(of, right, ints);
          for (int64_t r = 0; (of.validity || right.validity) && r < rows; ++r) {
            known[r] = of.known(r) && right.known(r);
            status.missing += !known[r];
          }
          break;
        }
        case What::buckets:
          status = read_buckets(of, step.edges.data(), static_cast<int64_t>(step.edges.size()), ints);
          break;
        case What::time_parts:
          read_time_parts(of, step.mul, step.div, step.part, step.shift_ms, ints);
          if (of.validity) status.missing = read_known(of, in, known);
          break;
        case What::times:
          read_times(of, in, step.mul, step.div, ints);
          if (nulls(of, in)) status.bad = kUnplanned;
          break;
        case What::dense:
        case What::log_ages: {
          const auto at = static_cast<size_t>(step.matrix);
          float* to = matrices[at] + step.index;
          if (step.what == What::dense) {
            status = read_dense(of, in, step.dense, to, matrices_[at].width);
          } else {
            if (nulls(of, in)) status.bad = kUnplanned;
            read_log_ages(of, in, step.mul, step.div, written[static_cast<size_t>(step.other)], to, matrices_[at].width);
          }
        }
      }
      missing += status.missing;
      planned &= status.bad == 0;
      *out++ = status;
      if (step.matrix < 0) {
        const int64_t wrote = count(step.source, rows, offsets);
        ints += wrote;
        known += wrote;
      }
    }
    if (!planned) return -1;
    for (const Ids& slot : slots_) {
      const auto at = static_cast<size_t>(slot.step);
      const Source& source = sources_[static_cast<size_t>(steps_[at].source)];
      const int64_t all = count(steps_[at].source, rows, offsets);
      *found = {written[at] - begin, all, source.width ? static_cast<int64_t>(source.list) : -1};
      if (slot.gaps && first[at].missing) {
        found->list = static_cast<int64_t>(lists_ + slot.gap);
        found->count = together(written[at], there[at], rows, offsets + found->list * (rows + 1));
      }
      ++found;
    }
    return missing;
  }

 private:
  static bool text(Kind kind) { return kind >= Kind::text32; }
  static const uint8_t* validity(const ArrowArray& array) {
    return array.null_count == 0 ? nullptr : static_cast<const uint8_t*>(array.buffers[0]);
  }
  static Column column(const ArrowArray& array, Kind kind, int64_t bytes) {
    if (!text(kind)) return {kind, array.buffers[1], nullptr, validity(array), array.offset, array.length, 0};
    return {kind, array.buffers[2], array.buffers[1], validity(array), array.offset, array.length, bytes};
  }
  static Lists lists(const ArrowArray& batch, const Source& source) {
    const ArrowArray& array = *batch.children[source.child];
    return {source.width, array.buffers[1], 0, validity(array), array.offset, array.length, array.children[0]->length};
  }
  static bool nulls(const Column& of, const Ranges& in) {
    bool some = false;
    if (!of.validity) return false;
    stretches(in, of.length, [&](int64_t first, int64_t, int64_t count) {
      for (int64_t i = 0; i < count; ++i) some |= !of.known(first + i);
    });
    return some;
  }
  // Moves the `known` ones of `ids` to the front and fills `offsets`; returns how many there are.
  static int64_t together(int64_t* ids, const uint8_t* known, int64_t rows, int64_t* offsets) {
    int64_t kept = 0;
    for (int64_t r = 0; r < rows; ++r) {
      offsets[r] = kept;
      if (known[r]) ids[kept++] = ids[r];
    }
    offsets[rows] = kept;
    return kept;
  }
  int64_t count(int source, int64_t rows, const int64_t* offsets) const {
    if (source < 0 || !sources_[static_cast<size_t>(source)].width) return rows;
    return offsets[static_cast<int64_t>(sources_[static_cast<size_t>(source)].list + 1) * (rows + 1) - 1];
  }

  std::vector<Source> sources_;
  std::vector<Matrix> matrices_;
  std::vector<Step> steps_;
  std::vector<Ids> slots_;
  size_t lists_ = 0, gaps_ = 0;
};

}  // namespace larix::features
