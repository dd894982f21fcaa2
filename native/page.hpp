// The items of a page as JSON: what stands at each place, its value and its scores, best first.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <vector>

#include "columns.hpp"
#include "decimal.hpp"

namespace larix {

inline void push_text(Bytes& out, std::string_view text) {
  std::memcpy(out.add(text.size()), text.data(), text.size());
}

// Of known length, which takes no call.
template <size_t size>
void push_text(Bytes& out, const char (&text)[size]) {
  std::memcpy(out.add(size - 1), text, size - 1);
}

inline void push_integer(Bytes& out, std::integral auto value) {
  constexpr size_t longest = 20;
  char* begin = out.add(longest);
  out.drop(static_cast<size_t>(begin + longest - std::to_chars(begin, begin + longest, value).ptr));
}

// ``decimal``, of the size of plain numbers, with its point where it belongs.
inline void push_plain(Bytes& out, const Decimal& decimal) {
  const size_t before = out.size();
  push_text(out, "0.0000");
  push_integer(out, decimal.digits);
  const auto count = static_cast<int>(out.size() - before) - 6;
  const int whole = count + decimal.exponent;  // digits before the point
  char* begin = out.data() + before;
  if (whole <= 0) {
    std::memmove(begin + 2 - whole, begin + 6, 20);
    out.drop(static_cast<size_t>(4 + whole));
    return;
  }
  std::memmove(begin, begin + 6, 20);
  out.drop(6);
  if (decimal.exponent < 0) {
    std::memmove(begin + whole + 1, begin + whole, static_cast<size_t>(count - whole));
    begin[whole] = '.';
    out.add(1);
  } else {
    for (int at = 0; at < decimal.exponent; ++at) push_text(out, "0");
    push_text(out, ".0");
  }
}

// As the other JSON of the server has them: the fewest digits that are read as the same number, null if it is none.
inline void push_number(Bytes& out, double value) {
  if (!std::isfinite(value)) return push_text(out, "null");
  if (std::signbit(value)) push_text(out, "-");
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-5 && size < 1e16);
  Decimal decimal;
  if (plain && shortest(size, &decimal)) return push_plain(out, decimal);
  char text[32];
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const char* end = std::to_chars(text, text + sizeof text, size, format).ptr;
  const std::string_view told(text, static_cast<size_t>(end - text));
  if (plain) {
    push_text(out, told);
    if (told.find('.') == std::string_view::npos) push_text(out, ".0");
    return;
  }
  const size_t mark = told.find('e') + 1;  // then a sign and at least two digits
  push_text(out, told.substr(0, mark));
  if (told[mark] == '-') push_text(out, "-");
  push_text(out, told.substr(mark + (told[mark + 1] == '0' ? 2 : 1)));
}

// What a page is made of. ``items``: what stands at each of its ``places``, a number, or, where that is null, ``told`` as JSON
// has it. ``order``: which candidate each is, of whom ``value`` and the tasks' ``scores`` tell. ``names``: of tasks, as JSON
// has them with the colon.
struct PageItems {
  size_t places;
  const int64_t* items;
  std::vector<std::string_view> told;
  const int64_t* order;
  const double* value;
  std::vector<const float*> scores;
  std::vector<std::string_view> names;
};

inline void push_items(Bytes& out, const PageItems& page) {
  push_text(out, "[");
  for (size_t at = 0; at < page.places; ++at) {
    const int64_t candidate = page.order[at];
    if (at != 0) push_text(out, ",");
    push_text(out, "{\"item\":");
    page.items != nullptr ? push_integer(out, page.items[at]) : push_text(out, page.told[at]);
    push_text(out, ",\"position\":");
    push_integer(out, at);
    push_text(out, ",\"value\":");
    push_number(out, page.value[candidate]);
    push_text(out, ",\"scores\":{");
    for (size_t task = 0; task < page.names.size(); ++task) {
      if (task != 0) push_text(out, ",");
      push_text(out, page.names[task]);
      push_number(out, static_cast<double>(page.scores[task][candidate]));
    }
    push_text(out, "}}");
  }
  push_text(out, "]");
}

}  // namespace larix
