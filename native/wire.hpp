// Protobuf's encoding read in place, https://protobuf.dev/programming-guides/encoding: fields one after the other, each a key and
// a value. Knows no message. What takes something says false where it is not there whole, and gives up for good.
#pragma once

#include <cstdint>
#include <string_view>

namespace larix::wire {

enum Kind : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr uint32_t key_of(uint32_t number, Kind kind) { return number << 3 | kind; }

// ``value``: of kVarint. ``bytes``: of kBytes. ``whole``: all of it, with its key.
struct Field {
  uint32_t key;
  uint64_t value;
  std::string_view bytes, whole;

  uint32_t number() const { return key >> 3; }
};

class Message {
 public:
  explicit Message(std::string_view bytes) : left_(bytes) {}

  bool over() const { return left_.empty(); }

  bool take(uint64_t* number) {
    *number = 0;
    for (unsigned at = 0; at < 10 && at < left_.size(); ++at) {
      const auto byte = static_cast<unsigned char>(left_[at]);
      if (at == 9 && byte > 1) return false;  // more than 64 bits
      *number |= static_cast<uint64_t>(byte & 0x7f) << 7 * at;
      if (byte < 0x80) {
        left_.remove_prefix(at + 1);
        return true;
      }
    }
    return false;
  }

  bool take(Field* field) {
    const std::string_view before = left_;
    uint64_t key = 0, size = 0;
    if (!take(&key) || key > UINT32_MAX || key >> 3 == 0) return false;
    *field = {static_cast<uint32_t>(key), 0, {}, {}};
    switch (key & 7) {
      case kVarint:
        if (!take(&field->value)) return false;
        break;
      case kFixed64: size = 8; break;
      case kFixed32: size = 4; break;
      case kBytes:
        if (!take(&size)) return false;
        break;
      default: return false;  // groups, which nobody sends any more
    }
    if (size > left_.size()) return false;
    if ((key & 7) == kBytes) field->bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    field->whole = before.substr(0, before.size() - left_.size());
    return true;
  }

 private:
  std::string_view left_;
};

}  // namespace larix::wire
