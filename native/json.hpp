// JSON read in place, strictly (RFC 8259): what takes a value says false at anything else, and gives up for good.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include "columns.hpp"

namespace larix::json {

constexpr int64_t kMostDigits = 1 << 20;  // of a number that is read: an exponent of 4 digits and theirs fits in 32 bits

// A number as it is written: ``digits * 10 ** exponent``, exactly if it is ``exact``; ``whole``: without point and exponent.
struct Number {
  const char *begin, *end;
  uint64_t digits;
  int32_t exponent;
  bool negative, whole, exact;
};

class Text {
 public:
  explicit Text(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  const char* at() const { return at_; }
  bool over() const { return at_ == end_; }
  char peek() const { return at_ == end_ ? '\0' : *at_; }  // which stands nowhere but in strings, escaped

  void blanks() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }

  bool take(std::string_view word) {
    if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  bool take(Number* number) {
    number->begin = at_;
    number->negative = take('-');
    number->digits = 0;
    number->exponent = 0;
    const char* first = at_;
    if (!digits(&number->digits)) return false;
    int64_t count = at_ - first;
    if ((*first == '0' && count > 1) || count >= kMostDigits) return false;
    number->whole = true;
    if (take('.')) {
      number->whole = false;
      const char* fraction = at_;
      if (!digits(&number->digits)) return false;
      count += at_ - fraction;
      if (count >= kMostDigits) return false;
      number->exponent = static_cast<int32_t>(fraction - at_);
    }
    if (take('e') || take('E')) {
      number->whole = false;
      const bool minus = take('-');
      if (!minus) take('+');
      uint64_t power = 0;
      const char* begin = at_;
      if (!digits(&power) || at_ - begin > 4) return false;
      number->exponent += static_cast<int32_t>(minus ? -static_cast<int64_t>(power) : static_cast<int64_t>(power));
    }
    number->exact = count <= 19;
    number->end = at_;
    return true;
  }

  // A string without escapes, in place. Whether it is UTF-8 is not looked at: what it is compared with is.
  bool take_name(std::string_view* name) {
    if (!take('"')) return false;
    const char* begin = at_;
    while (at_ != end_ && (plain(*at_) || static_cast<unsigned char>(*at_) >= 0x80)) ++at_;
    *name = {begin, static_cast<size_t>(at_ - begin)};
    return take('"');
  }

  // A string, as UTF-8 at the end of ``out``.
  bool take_string(Bytes& out);

  // One character that is UTF-8, whichever.
  bool take_character() {
    if (static_cast<unsigned char>(*at_) < 0x80) return ++at_, true;
    const size_t size = wide();
    at_ += size;
    return size != 0;
  }

  // To the end of a value, wherever that is: what it holds is not looked at.
  bool skip() {
    const char first = peek();
    if (first == '{' || first == '[') return skip_nested();
    if (first == '"') return ++at_, skip_string();
    const char* begin = at_;
    while (at_ != end_ && std::string_view(",}] \n\r\t").find(*at_) == std::string_view::npos) ++at_;
    return at_ != begin;
  }

 private:
  static bool plain(char each) {
    const auto code = static_cast<unsigned char>(each);
    return code >= 0x20 && code < 0x80 && code != '"' && code != '\\';
  }

  bool digits(uint64_t* sum) {
    const char* begin = at_;
    for (; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) *sum = *sum * 10 + static_cast<uint64_t>(*at_ - '0');
    return at_ != begin;
  }

  // Behind its first quote.
  bool skip_string() {
    for (; at_ != end_ && *at_ != '"'; ++at_)
      if (*at_ == '\\' && ++at_ == end_) return false;
    return take('"');
  }

  bool skip_nested();
  bool take_escaped(Bytes& out);
  size_t wide() const;  // bytes of the character here, beyond ASCII; 0 if it is none
  bool take_hex(uint32_t* code);

  const char* at_;
  const char* end_;
};

inline void push_utf8(Bytes& out, uint32_t code) {
  const auto push = [&](uint32_t byte) { out.push(static_cast<char>(byte)); };
  if (code < 0x80) return push(code);
  if (code < 0x800) {
    push(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      push(0xe0 | code >> 12);
    } else {
      push(0xf0 | code >> 18);
      push(0x80 | (code >> 12 & 0x3f));
    }
    push(0x80 | (code >> 6 & 0x3f));
  }
  push(0x80 | (code & 0x3f));
}

inline bool Text::take_hex(uint32_t* code) {
  if (end_ - at_ < 4) return false;
  const auto [end, error] = std::from_chars(at_, at_ + 4, *code, 16);
  if (error != std::errc() || end != at_ + 4) return false;
  at_ += 4;
  return true;
}

inline bool Text::take_escaped(Bytes& out) {
  static constexpr std::string_view shorts = "\"\"\\\\//b\bf\fn\nr\rt\t";
  if (at_ == end_) return false;
  const char kind = *at_++;
  for (size_t at = 0; at < shorts.size(); at += 2) {
    if (shorts[at] != kind) continue;
    out.push(shorts[at + 1]);
    return true;
  }
  uint32_t code = 0, low = 0;
  if (kind != 'u' || !take_hex(&code)) return false;
  if (code >= 0xd800 && code < 0xe000) {  // half a pair
    if (code >= 0xdc00 || !take("\\u") || !take_hex(&low) || low < 0xdc00 || low >= 0xe000) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  push_utf8(out, code);
  return true;
}

inline size_t Text::wide() const {
  const auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<unsigned char>(at_[at])); };
  const uint32_t head = byte(0);
  const size_t size = head < 0xc2 ? 0 : head < 0xe0 ? 2 : head < 0xf0 ? 3 : head < 0xf5 ? 4 : 0;
  if (static_cast<size_t>(end_ - at_) < size) return 0;
  uint32_t code = head & (0x7f >> size);
  for (size_t at = 1; at < size; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(at) & 0x3f);
  }
  const bool surplus = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  return surplus || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : size;
}

inline bool Text::take_string(Bytes& out) {
  if (!take('"')) return false;
  while (at_ != end_) {
    const char* begin = at_;
    while (at_ != end_ && plain(*at_)) ++at_;
    if (at_ != begin) {
      const auto size = static_cast<size_t>(at_ - begin);
      std::memcpy(out.add(size), begin, size);
    }
    if (take('"')) return true;
    if (take('\\')) {
      if (!take_escaped(out)) return false;
    } else {
      const size_t size = at_ == end_ ? 0 : wide();
      if (size == 0) return false;
      std::memcpy(out.add(size), at_, size);
      at_ += size;
    }
  }
  return false;
}

inline bool Text::skip_nested() {
  constexpr ptrdiff_t block = 64;
  int64_t depth = 0;
  while (at_ != end_) {
    // Where a block has no strings and cannot hold the end, its brackets are counted, many at a time.
    while (end_ - at_ >= block) {
      int opened = 0, closed = 0, quotes = 0;
      for (ptrdiff_t at = 0; at < block; ++at) {
        opened += (at_[at] | 0x20) == '{';
        closed += (at_[at] | 0x20) == '}';
        quotes += at_[at] == '"';
      }
      if (quotes != 0 || closed >= depth) break;
      depth += opened - closed;
      at_ += block;
    }
    const char* stop = end_ - at_ < block ? end_ : at_ + block;
    while (at_ < stop) {
      const char each = *at_++;
      if (each == '"') {
        if (!skip_string()) return false;
      } else if ((each | 0x20) == '{') {
        ++depth;
      } else if ((each | 0x20) == '}' && --depth == 0) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace larix::json
