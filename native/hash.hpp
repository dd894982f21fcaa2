// The hashes of the house: pure functions of their arguments, the same on every machine.
#pragma once

#include <cstdint>

namespace larix {

inline constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ull;

// The finaliser of splitmix64: a bijection of 64 bits.
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// Where a row's entry lies in the index. Not kept on disk, so free to change. The table is hashed on its own first:
// were it added as it is, ids that step by a constant could fall on the same place from table to table.
inline uint64_t place_salt(uint32_t table) { return mix(table + kGolden); }
inline uint64_t place_hash_with(uint64_t salt, int64_t id) { return mix(static_cast<uint64_t>(id) ^ salt); }
inline uint64_t place_hash(int64_t id, uint32_t table) { return place_hash_with(place_salt(table), id); }

}  // namespace larix
