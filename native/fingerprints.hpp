// Where a key may lie in a run of rows sorted by hash, in 11.3 bits a row: the hashes cut to 8 bits more than it takes to
// number the rows, in Elias-Fano form (P. Elias 1974, R. Fano 1971). Of keys that are not there one in 256 gets a row all
// the same. Unlike a Bloom filter it names the row, so that no second index is needed to find its page.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "simd.hpp"

namespace larix {

class Fingerprints {
 public:
  Fingerprints() = default;

  // For up to ``rows`` rows, at least one.
  explicit Fingerprints(uint64_t rows) : scale_(rows), bits_(2 * rows / 64 + 3), starts_(rows / kBlock + 2) {
    low_.reserve(rows);
  }

  // The next row's hash, not less than the one before.
  void add(uint64_t hash) {
    const Cut cut = cut_of(hash);
    for (; blocks_ <= cut.high / kBlock; ++blocks_) starts_[blocks_] = static_cast<uint32_t>(low_.size());
    const uint64_t bit = cut.high + low_.size();
    bits_[bit / 64] |= uint64_t{1} << bit % 64;
    low_.push_back(cut.low);
  }

  // After the last row.
  void finish() {
    for (; blocks_ < starts_.size(); ++blocks_) starts_[blocks_] = static_cast<uint32_t>(low_.size());
  }

  LARIX_INLINE void prefetch_start(uint64_t hash) const { __builtin_prefetch(&starts_[cut_of(hash).high / kBlock]); }

  // After prefetch_start has come in: asks for what ``each`` reads.
  LARIX_INLINE void prefetch(uint64_t hash) const {
    const uint64_t high = cut_of(hash).high;
    const uint64_t row = starts_[high / kBlock];
    __builtin_prefetch(&bits_[(row + high) / 64]);
    __builtin_prefetch(low_.data() + row + high % kBlock);
  }

  // Calls visit(row) for every row whose fingerprint is that of ``hash``.
  template <class Visit>
  LARIX_INLINE void each(uint64_t hash, Visit&& visit) const {
    const Cut cut = cut_of(hash);
    // Every quotient ends with a zero bit, and a one bit stands for a row: rows of a quotient begin after as many zeros.
    uint64_t bit = starts_[cut.high / kBlock] + cut.high / kBlock * kBlock;
    for (auto skip = static_cast<unsigned>(cut.high % kBlock); skip;) {
      const uint64_t zeros = ~window(bit);
      const auto count = static_cast<unsigned>(std::popcount(zeros));
      if (count >= skip) [[likely]] {
        bit += select(zeros, skip - 1) + 1;
        break;
      }
      skip -= count;
      bit += 64;
    }
    for (int ones = 64; ones == 64; bit += 64) {
      ones = std::countr_one(window(bit));
      const uint64_t row = bit - cut.high;
      for (int i = 0; i < ones; ++i) {
        if (low_[row + static_cast<unsigned>(i)] == cut.low) visit(static_cast<uint32_t>(row) + static_cast<uint32_t>(i));
      }
    }
  }

  uint64_t rows() const { return low_.size(); }
  size_t bytes() const {
    return low_.capacity() + bits_.capacity() * sizeof(uint64_t) + starts_.capacity() * sizeof(uint32_t);
  }

 private:
  static constexpr uint64_t kBlock = 24;  // quotients for which the first row is kept: 64 bits nearly always reach its end

  struct Cut {
    uint64_t high;  // the quotient, below scale_
    uint8_t low;
  };

  LARIX_INLINE Cut cut_of(uint64_t hash) const {
    __extension__ using Wide = unsigned __int128;
    const Wide scaled = static_cast<Wide>(hash) * scale_;
    return {static_cast<uint64_t>(scaled >> 64), static_cast<uint8_t>(scaled >> 56)};
  }

  // Bits [bit, bit + 64).
  LARIX_INLINE uint64_t window(uint64_t bit) const {
    return bits_[bit / 64] >> bit % 64 | bits_[bit / 64 + 1] << 1 << (63 - bit % 64);
  }

  // The place of a word's one bit that has ``rank`` others before it. After S. Vigna, Broadword Implementation of
  // Rank/Select Queries (2008).
  LARIX_INLINE static unsigned select(uint64_t word, unsigned rank) {
    constexpr uint64_t ones = 0x0101010101010101ull, highs = ones << 7;
    uint64_t sums = word - (word >> 1 & 0x5555555555555555ull);
    sums = (sums & 0x3333333333333333ull) + (sums >> 2 & 0x3333333333333333ull);
    sums = ((sums + (sums >> 4)) & 0x0F0F0F0F0F0F0F0Full) * ones;  // by byte: bits in it and in those before
    const auto place = static_cast<unsigned>(std::popcount(((rank * ones | highs) - sums) & highs)) * 8;
    return place + kSelect[(rank - (sums << 8 >> place & 255)) << 8 | (word >> place & 255)];
  }

  // By rank and byte: the place of the one bit with so many before it.
  static constexpr auto kSelect = [] {
    std::array<uint8_t, 8 * 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
      for (unsigned bit = 0, rank = 0; bit < 8; ++bit) {
        if (byte >> bit & 1) table[rank++ << 8 | byte] = static_cast<uint8_t>(bit);
      }
    }
    return table;
  }();

  uint64_t scale_ = 0;            // quotients
  std::vector<uint8_t> low_;      // by row
  std::vector<uint64_t> bits_;    // quotients in unary
  std::vector<uint32_t> starts_;  // by block of quotients: its first row
  uint64_t blocks_ = 0;           // blocks whose first row is known
};

}  // namespace larix
