// CRC32C (Castagnoli), as iSCSI, ext4 and Kafka use it; by the CPU's own instruction where there is one.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace larix {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they are");

namespace crc {

// kTables[k][b]: what byte b adds when k more bytes follow it in a word.
inline constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ (rest & 1 ? 0x82F63B78u : 0);
    tables[0][byte] = rest;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 255];
    }
  }
  return tables;
}();

inline uint32_t by_table(uint32_t crc, const char* data, size_t bytes) {
  for (; bytes >= 8; data += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    word ^= crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][word >> 8 * k & 255];
  }
  for (; bytes; ++data, --bytes) crc = crc >> 8 ^ kTables[0][(crc ^ static_cast<uint8_t>(*data)) & 255];
  return crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("sse4.2"))) inline uint32_t by_instruction(uint32_t crc, const char* data, size_t bytes) {
  uint64_t wide = crc;
  for (; bytes >= 8; data += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; bytes; ++data, --bytes) crc = __builtin_ia32_crc32qi(crc, static_cast<uint8_t>(*data));
  return crc;
}
inline bool has_instruction() { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__ARM_FEATURE_CRC32)
inline uint32_t by_instruction(uint32_t crc, const char* data, size_t bytes) {
  for (; bytes >= 8; data += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    crc = __crc32cd(crc, word);
  }
  for (; bytes; ++data, --bytes) crc = __crc32cb(crc, static_cast<uint8_t>(*data));
  return crc;
}
inline bool has_instruction() { return true; }
#else
inline uint32_t by_instruction(uint32_t crc, const char* data, size_t bytes) { return by_table(crc, data, bytes); }
inline bool has_instruction() { return false; }
#endif

}  // namespace crc

// The checksum of ``bytes`` bytes that follow others whose checksum is ``before`` (0: none).
inline uint32_t crc32c(const void* data, size_t bytes, uint32_t before = 0) {
  static const bool fast = crc::has_instruction();
  const char* first = static_cast<const char*>(data);
  return ~(fast ? crc::by_instruction(~before, first, bytes) : crc::by_table(~before, first, bytes));
}

}  // namespace larix
