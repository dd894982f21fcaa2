#include "merge.hpp"

#include <algorithm>

namespace larix {

namespace {

constexpr size_t kChunk = size_t{256} << 10;  // of all inputs together, read at a time

}  // namespace

Status Merge::begin(std::span<const std::shared_ptr<Segment>> inputs, const std::string& path,
                    std::unique_ptr<Merge>& merge) {
  std::unique_ptr<Merge> made(new Merge);
  uint64_t living = 0;
  for (const auto& segment : inputs) living += segment->live();
  const PageLayout& layout = inputs.front()->layout();
  const Ages ages{inputs.front()->ages().first, inputs.back()->ages().last};
  if (Status status = SegmentWriter::create(path, layout, ages, living, made->writer_); !status.ok()) return status;
  made->origins_.reserve(living / 16 + 1);
  for (const auto& segment : inputs) {
    Input& input = made->inputs_.emplace_back();
    input.segment = segment;
    input.left_out.resize(segment->rows() / 64 + 1);
    input.starts.reserve(layout.pages(segment->rows()));
    input.chunk.resize(std::max<size_t>(1, kChunk / inputs.size() / layout.page_bytes) * layout.page_bytes);
    if (Status status = made->advance(input); !status.ok()) return status;
  }
  merge = std::move(made);
  return {};
}

Merge::~Merge() {
  if (writer_ && !published_) output()->file().remove();
}

// Moves on to the next living row, from ``input.row`` on.
Status Merge::advance(Input& input) {
  const PageLayout& layout = input.segment->layout();
  for (; input.more(); input.leave_out()) {
    const uint64_t page = layout.page_of(input.row);
    if (page == input.starts.size()) input.starts.push_back(writer_->rows());
    if (input.segment->dead(input.row)) continue;
    if (page >= input.first + input.count) {
      if (Status status = load(input, page); !status.ok()) return status;
    }
    const char* at = input.chunk.data() + (page - input.first) * layout.page_bytes + layout.offset_of(input.row);
    const RowView row(at, layout);
    input.hash = segment_hash(row.id, row.table);
    input.table = row.table;
    input.id = row.id;
    input.record = row.record;
    break;
  }
  return {};
}

Status Merge::load(Input& input, uint64_t page) {
  const PageLayout& layout = input.segment->layout();
  input.count = 0;  // of a chunk that cannot be read nothing is used
  const uint64_t pages = std::min<uint64_t>(input.chunk.size() / layout.page_bytes,
                                            layout.pages(input.segment->rows()) - page);
  if (Status status = input.segment->read(page, pages, input.chunk.data()); !status.ok()) return status;
  input.first = page;
  input.count = pages;
  work_ += pages * layout.page_bytes;
  return {};
}

// The input whose row comes next; of equal keys that of the newest.
Merge::Input* Merge::next_input() {
  Input* least = nullptr;
  for (Input& input : inputs_) {
    if (!input.more()) continue;
    if (!least || input.hash < least->hash || (input.hash == least->hash && input.table <= least->table)) {
      least = &input;
    }
  }
  return least;
}

Status Merge::step(size_t bytes) {
  work_ = 0;
  for (Input& input : inputs_) {  // rows that died since the step before
    if (!input.more() || !input.segment->dead(input.row)) continue;
    if (Status status = advance(input); !status.ok()) return status;
  }
  const size_t row_bytes = output()->layout().row_bytes;
  for (; work_ < bytes; work_ += row_bytes) {
    Input* from = next_input();
    if (!from) {
      written_ = true;
      return writer_->rows() ? writer_->finish() : Status();
    }
    note_origin(static_cast<size_t>(from - inputs_.data()));
    Status status = writer_->add(from->hash, from->id, from->table, from->record);
    if (!status.ok()) return status;
    for (Input& older : inputs_) {
      if (&older == from || !older.more() || older.hash != from->hash || older.table != from->table) continue;
      older.segment->kill(older.row);
      if (status = advance(older); !status.ok()) return status;
    }
    ++from->row;
    if (status = advance(*from); !status.ok()) return status;
  }
  return {};
}

Status Merge::publish(const std::string& path) {
  if (writer_->rows()) {
    if (Status status = output()->file().sync(); !status.ok()) return status;
    if (Status status = writer_->publish(path); !status.ok()) return status;
  } else {
    output()->file().remove();
  }
  published_ = true;
  return {};
}

void Merge::note_origin(size_t input) {
  const uint32_t row = writer_->rows();
  if (row % 16 == 0) origins_.push_back(0);
  origins_.back() |= uint64_t{input} << row % 16 * 4;
}

void Merge::killed(const Segment* segment, uint32_t row) {
  for (size_t at = 0; at < inputs_.size(); ++at) {
    const Input& input = inputs_[at];
    if (input.segment.get() == segment && row < input.row && !input.passed(row)) output()->kill(copy_of(at, row));
  }
}

// Where a copied row lies in the output: among the rows that came from its input since its page began, it is the one with
// as many before it as the page has copied rows before it.
uint32_t Merge::copy_of(size_t at, uint32_t row) const {
  const Input& input = inputs_[at];
  const PageLayout& layout = input.segment->layout();
  const uint64_t page = layout.page_of(row);
  size_t before = 0;
  for (auto other = static_cast<uint32_t>(page * layout.page_rows); other < row; ++other) before += !input.passed(other);
  uint32_t copy = input.starts[page];
  for (;; ++copy) {
    if (origin(copy) == at && before-- == 0) return copy;
  }
}

bool Merge::reads(const Segment* segment) const {
  return std::any_of(inputs_.begin(), inputs_.end(), [&](const Input& input) { return input.segment.get() == segment; });
}

size_t Merge::memory() const {
  size_t bytes = sizeof *this + writer_->memory() + output()->memory() + origins_.capacity() * sizeof(uint64_t);
  for (const Input& input : inputs_) {
    bytes += sizeof input + input.left_out.capacity() * sizeof(uint64_t) + input.chunk.capacity() +
             input.starts.capacity() * sizeof(uint32_t);
  }
  return bytes;
}

}  // namespace larix
