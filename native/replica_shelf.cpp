#include "replica_shelf.hpp"

#include <cstring>

#include "simd.hpp"

namespace larix {

namespace {

LARIX_SIMD void encode_row(Format format, const float* weights, size_t dim, char* row) { encode(format, weights, dim, row); }

template <class Row>
LARIX_INLINE void widen_row(const char* whole, size_t dim, float* weights) {
  const Row row(whole);
  LARIX_COLUMNS
  for (size_t i = 0; i < dim; ++i) weights[i] = row[i];
}

LARIX_SIMD void decode_row(Format format, const char* whole, size_t dim, float* weights) {
  switch (format) {
    case Format::fp32: return widen_row<Fp32Row>(whole, dim, weights);
    case Format::bf16: return widen_row<HalfRow<Precision::bf16>>(whole, dim, weights);
    case Format::fp16: return widen_row<HalfRow<Precision::fp16>>(whole, dim, weights);
    case Format::int8: return widen_row<Int8Row>(whole, dim, weights);
  }
}

}  // namespace

ReplicaShelf::ReplicaShelf(Format format, size_t dim, const std::optional<Levels>& levels)
    : format_(format), dim_(dim), hot_(encoded_bytes(format, dim), levels.has_value()) {
  if (!levels) return;
  const size_t cold_bytes = levels->int8 ? encoded_bytes(Format::int8, dim) : sizeof(uint32_t);
  cold_.reset(new Cold{ReplicaRows(cold_bytes, true), RowFile(levels->folder, encoded_bytes(format, dim)), levels->int8});
  wide_ = std::make_unique<float[]>(dim);
  whole_ = std::make_unique<char[]>(encoded_bytes(format, dim));
}

Status ReplicaShelf::read(std::span<RowFile::Wanted> wanted, const PageReaders& readers) const {
  for (RowFile::Wanted& each : wanted) each.row -= kCold;
  return cold_->file.read(wanted, readers);
}

uint32_t ReplicaShelf::take(bool hot, uint8_t uses) {
  const uint32_t row = hot ? hot_.take() : cold_->rows.take() + kCold;
  if (cold_) uses_of(row).store(uses, std::memory_order_relaxed);
  return row;
}

Status ReplicaShelf::write(uint32_t row, const float* weights) {
  if (!is_cold(row)) {
    encode_row(format_, weights, dim_, hot_.at(row));
    return {};
  }
  encode_row(format_, weights, dim_, whole_.get());
  return write_encoded(row, whole_.get());
}

Status ReplicaShelf::write_encoded(uint32_t row, const char* whole) {
  if (!is_cold(row)) {
    std::memcpy(hot_.at(row), whole, hot_.stride());
    return {};
  }
  if (cold_->int8) {
    decode_row(format_, whole, dim_, wide_.get());
    encode_row(Format::int8, wide_.get(), dim_, cold_->rows.at(row - kCold));
  }
  return cold_->file.write(row - kCold, whole);
}

}  // namespace larix
