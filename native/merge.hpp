// Makes one segment of a few, a step at a time, while their rows go on being taken. Knows nothing of the folder's other
// segments.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "segment.hpp"

namespace larix {

class Merge {
 public:
  static constexpr size_t kMostInputs = 16;

  // ``inputs``: neighbours in age, the oldest first, with at least one living row. Writes to ``path``.
  static Status begin(std::span<const std::shared_ptr<Segment>> inputs, const std::string& path,
                      std::unique_ptr<Merge>& merge);
  ~Merge();
  Merge(const Merge&) = delete;
  Merge& operator=(const Merge&) = delete;

  // Reads and writes about ``bytes`` bytes. Of two versions of a row the newer one is kept.
  Status step(size_t bytes);

  // Whether all rows are written. If so: makes the file last and gives it its name. Needs no lock against ``killed``.
  bool written() const { return written_; }
  Status publish(const std::string& path);
  bool published() const { return published_; }

  // A row of an input died: so does its copy, if there is one yet.
  void killed(const Segment* input, uint32_t row);

  const std::shared_ptr<Segment>& output() const { return writer_->segment(); }
  bool reads(const Segment* segment) const;
  size_t memory() const;

 private:
  struct Input {
    bool more() const { return row < segment->rows(); }
    bool passed(uint32_t number) const { return left_out[number / 64] >> number % 64 & 1; }
    void leave_out() {
      left_out[row / 64] |= uint64_t{1} << row % 64;
      ++row;
    }

    std::shared_ptr<Segment> segment;
    std::vector<uint64_t> left_out;  // one bit a row: looked at, but not copied
    std::vector<uint32_t> starts;    // by page: rows of the output when the page's first row was looked at
    std::vector<char> chunk;         // pages first .. first + count
    uint64_t first = 0, count = 0;
    uint32_t row = 0;    // the next one to copy, alive unless it died since the step before
    uint64_t hash = 0;   // of that row, as are the next three
    uint32_t table = 0;
    int64_t id = 0;
    const char* record = nullptr;
  };

  Merge() = default;
  Status advance(Input& input);
  Status load(Input& input, uint64_t page);
  Input* next_input();
  uint32_t copy_of(size_t input, uint32_t row) const;
  void note_origin(size_t input);
  size_t origin(uint32_t row) const { return origins_[row / 16] >> row % 16 * 4 & 15; }

  std::vector<Input> inputs_;
  std::unique_ptr<SegmentWriter> writer_;
  std::vector<uint64_t> origins_;  // four bits a row of the output: the input it came from
  size_t work_ = 0;                // bytes that the step under way has read and written
  bool written_ = false;
  bool published_ = false;
};

}  // namespace larix
