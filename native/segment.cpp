#include "segment.hpp"

#include <algorithm>
#include <bit>

#include "crc.hpp"

namespace larix {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMostPageBytes = 16 * kPage;   // of pages that are larger for less waste
constexpr size_t kChunk = size_t{256} << 10;  // read and written at a time
constexpr size_t kBatch = 64;                   // keys whose fingerprints are on their way together
constexpr char kMagic[8] = {'L', 'A', 'R', 'I', 'X', 'S', 'E', 'G'};
constexpr uint32_t kVersion = 1;

size_t chunk_pages(const PageLayout& layout) { return std::max<size_t>(1, kChunk / layout.page_bytes); }

LARIX_SIMD void locate_all(const Fingerprints& fingerprints, const uint64_t* dead, std::span<const Sought> keys,
                           std::vector<Candidate>& candidates) {
  const auto start = [&](size_t from) {
    for (size_t at = from; at < std::min(from + kBatch, keys.size()); ++at) fingerprints.prefetch_start(keys[at].hash);
  };
  start(0);
  for (size_t first = 0; first < keys.size(); first += kBatch) {
    const size_t last = std::min(first + kBatch, keys.size());
    for (size_t at = first; at < last; ++at) fingerprints.prefetch(keys[at].hash);
    start(last);
    for (size_t at = first; at < last; ++at) {
      fingerprints.each(keys[at].hash, [&](uint32_t row) {
        if (!(dead[row / 64] >> row % 64 & 1)) candidates.push_back({row, static_cast<uint32_t>(at)});
      });
    }
  }
}

}  // namespace

PageLayout::PageLayout(size_t record_bytes) : record_bytes(record_bytes), row_bytes(kKeyBytes + record_bytes) {
  page_bytes = (kHead + row_bytes + kPage - 1) / kPage * kPage;
  const auto waste = [&](size_t bytes) { return (bytes - kHead) % row_bytes; };
  for (size_t bytes = page_bytes; waste(page_bytes) * 8 > page_bytes && bytes <= kMostPageBytes; bytes += kPage) {
    if (waste(bytes) * page_bytes < waste(page_bytes) * bytes) page_bytes = bytes;
  }
  page_rows = (page_bytes - kHead) / row_bytes;
}

// The last bytes of a segment's file.
struct Segment::Footer {
  char magic[8];
  uint32_t version;
  uint32_t record_bytes;
  uint64_t rows;
  uint64_t first_age;
  uint64_t last_age;
  uint32_t reserved;
  uint32_t checksum;  // of all before

  uint32_t sum() const { return crc32c(this, sizeof *this - sizeof checksum); }
};

Segment::Segment(File file, const PageLayout& layout, Ages ages, uint64_t most_rows)
    : file_(std::move(file)), layout_(layout), ages_(ages), fingerprints_(most_rows), dead_(most_rows / 64 + 1) {
  file_.expect_random_reads();
}

uint64_t Segment::bytes() const { return layout_.pages(rows()) * layout_.page_bytes + sizeof(Footer); }

uint32_t Segment::checksum(const char* page, uint64_t number) const {
  const uint64_t place[] = {ages_.first, ages_.last, number};
  return crc32c(page + PageLayout::kHead, layout_.page_bytes - PageLayout::kHead, crc32c(place, sizeof place));
}

Status Segment::damaged(uint64_t page, const std::string& how) const {
  return Status::error(file_.path() + ": damaged: page " + std::to_string(page) + " " + how);
}

Status Segment::check(const char* page, uint64_t number) const {
  uint32_t kept;
  std::memcpy(&kept, page, sizeof kept);
  return kept == checksum(page, number) ? Status() : damaged(number, "does not have its checksum");
}

Status Segment::unreadable(uint64_t number, int error) const {
  if (error == File::kEndOfFile) return damaged(number, "is cut short");
  return Status::system(file_.path(), ("read page " + std::to_string(number)).c_str(), error);
}

Status Segment::read(uint64_t first, uint64_t pages, char* into) const {
  Status status = file_.read(into, pages * layout_.page_bytes, first * layout_.page_bytes);
  for (uint64_t page = 0; page < pages && status.ok(); ++page) {
    status = check(into + page * layout_.page_bytes, first + page);
  }
  return status;
}

void Segment::locate(std::span<const Sought> keys, std::vector<Candidate>& candidates) const {
  locate_all(fingerprints_, dead_.data(), keys, candidates);
}

Status Segment::load(File file, const PageLayout& layout, std::shared_ptr<Segment>& segment) {
  const auto wrong = [&](const std::string& what) { return Status::error(file.path() + ": " + what); };
  Footer footer;
  uint64_t size = 0;
  if (Status status = file.size(size); !status.ok()) return status;
  if (size < sizeof footer) return wrong("damaged: it is too short for a segment");
  Status status = file.read(reinterpret_cast<char*>(&footer), sizeof footer, size - sizeof footer);
  if (!status.ok()) return status;
  if (std::memcmp(footer.magic, kMagic, sizeof kMagic)) return wrong("not a segment, or cut short");
  if (footer.checksum != footer.sum()) return wrong("damaged: the footer does not have its checksum");
  if (footer.version != kVersion) return wrong("a segment of version " + std::to_string(footer.version) + ", not 1");
  if (footer.record_bytes != layout.record_bytes) {
    return wrong("holds records of " + std::to_string(footer.record_bytes) + " bytes, not of " +
                 std::to_string(layout.record_bytes));
  }
  if (footer.first_age > footer.last_age) return wrong("damaged: its ages are out of order");
  // Compared by division: a wild number of rows must not wrap around to a good size.
  const uint64_t pages = (size - sizeof footer) / layout.page_bytes;
  if (footer.rows == 0 || footer.rows > kMostRows || layout.pages(footer.rows) != pages ||
      pages * layout.page_bytes + sizeof footer != size) {
    return wrong("damaged: " + std::to_string(size) + " bytes do not hold " + std::to_string(footer.rows) + " rows");
  }
  segment.reset(new Segment(std::move(file), layout, {footer.first_age, footer.last_age}, footer.rows));
  return segment->load_pages(footer.rows);
}

Status Segment::load_pages(uint64_t rows) {
  const uint64_t pages = layout_.pages(rows), together = chunk_pages(layout_);
  std::vector<char> chunk(std::min(pages, together) * layout_.page_bytes);
  uint64_t hash_before = 0;
  uint32_t table_before = 0;
  for (uint64_t row = 0; row < rows; ++row) {
    const uint64_t page = layout_.page_of(row);
    if (page % together == 0 && row % layout_.page_rows == 0) {
      const Status status = read(page, std::min(together, pages - page), chunk.data());
      if (!status.ok()) return status;
    }
    const RowView view(chunk.data() + page % together * layout_.page_bytes + layout_.offset_of(row), layout_);
    const uint64_t hash = segment_hash(view.id, view.table);
    if (view.table == 0) return damaged(page, "holds a row of table 0");
    if (row && (hash < hash_before || (hash == hash_before && view.table <= table_before))) {
      return damaged(page, "holds rows out of order");
    }
    fingerprints_.add(hash);
    hash_before = hash, table_before = view.table;
  }
  fingerprints_.finish();
  return {};
}

SegmentWriter::SegmentWriter(std::shared_ptr<Segment> segment, size_t buffer_pages)
    : segment_(std::move(segment)), buffer_(buffer_pages * segment_->layout().page_bytes) {}

Status SegmentWriter::create(const std::string& path, const PageLayout& layout, Ages ages, uint64_t most_rows,
                             std::unique_ptr<SegmentWriter>& writer) {
  File file;
  if (Status status = File::create(path, file); !status.ok()) return status;
  std::shared_ptr<Segment> segment(new Segment(std::move(file), layout, ages, most_rows));
  const uint64_t pages = std::min<uint64_t>(chunk_pages(layout), layout.pages(most_rows));
  writer.reset(new SegmentWriter(std::move(segment), pages));
  return {};
}

Status SegmentWriter::add(uint64_t hash, int64_t id, uint32_t table, const char* record) {
  const PageLayout& layout = segment_->layout_;
  const uint64_t row = rows();
  if ((layout.page_of(row) - first_) * layout.page_bytes == buffer_.size()) {
    if (Status status = flush(); !status.ok()) return status;
  }
  char* into = buffer_.data() + (layout.page_of(row) - first_) * layout.page_bytes + layout.offset_of(row);
  const auto number = static_cast<uint16_t>(table);
  std::memcpy(into, &id, sizeof id);
  std::memcpy(into + sizeof id, &number, sizeof number);
  std::memcpy(into + PageLayout::kKeyBytes, record, layout.record_bytes);
  segment_->fingerprints_.add(hash);
  return {};
}

Status SegmentWriter::flush() {
  const PageLayout& layout = segment_->layout_;
  const uint64_t pages = layout.pages(rows()) - first_;
  for (uint64_t page = 0; page < pages; ++page) {
    char* at = buffer_.data() + page * layout.page_bytes;
    const uint32_t sum = segment_->checksum(at, first_ + page);
    std::memcpy(at, &sum, sizeof sum);
  }
  const Status status =
      segment_->file_.write(buffer_.data(), pages * layout.page_bytes, first_ * layout.page_bytes);
  std::fill(buffer_.begin(), buffer_.end(), 0);
  first_ += pages;
  return status;
}

Status SegmentWriter::finish() {
  if (Status status = flush(); !status.ok()) return status;
  segment_->fingerprints_.finish();
  Segment::Footer footer{{}, kVersion, static_cast<uint32_t>(segment_->layout_.record_bytes), rows(),
                         segment_->ages_.first, segment_->ages_.last, 0, 0};
  std::memcpy(footer.magic, kMagic, sizeof kMagic);
  footer.checksum = footer.sum();
  buffer_ = {};
  return segment_->file_.write(reinterpret_cast<const char*>(&footer), sizeof footer,
                               segment_->bytes() - sizeof footer);
}

}  // namespace larix
