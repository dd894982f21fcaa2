// XXH3-64 with seed 0 and the default secret: the hash of string ids, written from the public specification of xxHash
// (xxhash_spec.md, version 0.2). Little-endian machines only. Knows nothing of columns.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace larix::xxh3 {

static_assert(std::endian::native == std::endian::little, "XXH3 below reads little-endian words as they lie in memory");

inline constexpr uint32_t kPrime32_1 = 0x9E3779B1, kPrime32_2 = 0x85EBCA77, kPrime32_3 = 0xC2B2AE3D;
inline constexpr uint64_t kPrime64_1 = 0x9E3779B185EBCA87, kPrime64_2 = 0xC2B2AE3D27D4EB4F,
                          kPrime64_3 = 0x165667B19E3779F9, kPrime64_4 = 0x85EBCA77C2B2AE63,
                          kPrime64_5 = 0x27D4EB2F165667C5;
inline constexpr uint64_t kMix1 = 0x165667919E3779F9, kMix2 = 0x9FB21C651E98DF25;

alignas(64) inline constexpr uint8_t kSecret[192] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d,
    0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0,
    0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0,
    0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b,
    0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac,
    0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51,
    0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34,
    0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49,
    0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8,
    0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b,
    0x40, 0x7e};

inline uint32_t word32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

inline uint64_t word64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

// The 128-bit product folded to 64 bits.
inline uint64_t fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t avalanche(uint64_t h) {
  h ^= h >> 37;
  h *= kMix1;
  return h ^ (h >> 32);
}

inline uint64_t avalanche_xxh64(uint64_t h) {
  h ^= h >> 33;
  h *= kPrime64_2;
  h ^= h >> 29;
  h *= kPrime64_3;
  return h ^ (h >> 32);
}

// 16 bytes of input against 16 bytes of the secret.
inline uint64_t mix16(const uint8_t* input, const uint8_t* secret) {
  return fold(word64(input) ^ word64(secret), word64(input + 8) ^ word64(secret + 8));
}

inline uint64_t hash_to_16(const uint8_t* in, uint64_t n) {
  if (n > 8) {
    const uint64_t low = word64(in) ^ word64(kSecret + 24) ^ word64(kSecret + 32);
    const uint64_t high = word64(in + n - 8) ^ word64(kSecret + 40) ^ word64(kSecret + 48);
    return avalanche(n + __builtin_bswap64(low) + high + fold(low, high));
  }
  if (n >= 4) {
    uint64_t h = word32(in + n - 4) + (static_cast<uint64_t>(word32(in)) << 32);
    h ^= word64(kSecret + 8) ^ word64(kSecret + 16);
    h ^= std::rotl(h, 49) ^ std::rotl(h, 24);
    h *= kMix2;
    h ^= (h >> 35) + n;
    h *= kMix2;
    return h ^ (h >> 28);
  }
  if (n > 0) {
    const uint32_t first = in[0], middle = in[n >> 1], last = in[n - 1];
    const uint32_t combined = (first << 16) | (middle << 24) | last | static_cast<uint32_t>(n << 8);
    return avalanche_xxh64(combined ^ static_cast<uint64_t>(word32(kSecret) ^ word32(kSecret + 4)));
  }
  return avalanche_xxh64(word64(kSecret + 56) ^ word64(kSecret + 64));
}

inline uint64_t hash_to_128(const uint8_t* in, uint64_t n) {
  uint64_t acc = n * kPrime64_1;
  // Pairs of 16 bytes from both ends inward: one pair up to 32 bytes, four up to 128.
  for (uint64_t i = 0; i <= (n - 1) / 32; ++i) {
    acc += mix16(in + 16 * i, kSecret + 32 * i);
    acc += mix16(in + n - 16 * (i + 1), kSecret + 32 * i + 16);
  }
  return avalanche(acc);
}

inline uint64_t hash_to_240(const uint8_t* in, uint64_t n) {
  uint64_t acc = n * kPrime64_1;
  for (uint64_t i = 0; i < 8; ++i) acc += mix16(in + 16 * i, kSecret + 16 * i);
  acc = avalanche(acc);
  for (uint64_t i = 8; i < n / 16; ++i) acc += mix16(in + 16 * i, kSecret + 16 * (i - 8) + 3);
  acc += mix16(in + n - 16, kSecret + 136 - 17);
  return avalanche(acc);
}

// One stripe of 64 bytes into eight accumulators.
inline void accumulate(uint64_t* acc, const uint8_t* in, const uint8_t* secret) {
  for (int i = 0; i < 8; ++i) {
    const uint64_t value = word64(in + 8 * i);
    const uint64_t key = value ^ word64(secret + 8 * i);
    acc[i ^ 1] += value;
    acc[i] += static_cast<uint64_t>(static_cast<uint32_t>(key)) * (key >> 32);
  }
}

inline uint64_t hash_long(const uint8_t* in, uint64_t n) {
  constexpr uint64_t kStripes = (sizeof(kSecret) - 64) / 8, kBlock = kStripes * 64;
  uint64_t acc[8] = {kPrime32_3, kPrime64_1, kPrime64_2, kPrime64_3, kPrime64_4, kPrime32_2, kPrime64_5, kPrime32_1};
  const uint64_t blocks = (n - 1) / kBlock;
  for (uint64_t b = 0; b < blocks; ++b) {
    for (uint64_t s = 0; s < kStripes; ++s) accumulate(acc, in + b * kBlock + 64 * s, kSecret + 8 * s);
    for (int i = 0; i < 8; ++i) {
      acc[i] = (acc[i] ^ (acc[i] >> 47) ^ word64(kSecret + sizeof(kSecret) - 64 + 8 * i)) * kPrime32_1;
    }
  }
  const uint64_t stripes = (n - 1 - blocks * kBlock) / 64;
  for (uint64_t s = 0; s < stripes; ++s) accumulate(acc, in + blocks * kBlock + 64 * s, kSecret + 8 * s);
  accumulate(acc, in + n - 64, kSecret + sizeof(kSecret) - 64 - 7);
  uint64_t h = n * kPrime64_1;
  for (int i = 0; i < 4; ++i) {
    h += fold(acc[2 * i] ^ word64(kSecret + 11 + 16 * i), acc[2 * i + 1] ^ word64(kSecret + 11 + 16 * i + 8));
  }
  return avalanche(h);
}

// XXH3-64 of n bytes.
inline uint64_t hash(const uint8_t* in, uint64_t n) {
  if (n <= 16) return hash_to_16(in, n);
  if (n <= 128) return hash_to_128(in, n);
  return n <= 240 ? hash_to_240(in, n) : hash_long(in, n);
}

}  // namespace larix::xxh3
