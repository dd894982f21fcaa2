// The items of a page as JSON: what stands at each place, its value and its scores, best first.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "columns.hpp"

namespace larix {

// As the other JSON of the server has them: the fewest digits that are read as the same number, null if it is none.
inline void push_number(Bytes& out, double value) {
  constexpr size_t longest = 32;
  const auto push = [&](std::string_view text) { std::memcpy(out.add(text.size()), text.data(), text.size()); };
  if (!std::isfinite(value)) return push("null");
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-5 && size < 1e16);
  char text[longest];
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const char* end = std::to_chars(text, text + longest, value, format).ptr;
  std::string_view told(text, static_cast<size_t>(end - text));
  if (plain) {
    push(told);
    if (told.find('.') == std::string_view::npos) push(".0");
    return;
  }
  const size_t mark = told.find('e') + 1;  // then a sign and at least two digits
  push(told.substr(0, mark));
  if (told[mark] == '-') push("-");
  push(told.substr(mark + (told[mark + 1] == '0' ? 2 : 1)));
}

inline void push_integer(Bytes& out, int64_t value) {
  char text[24];
  const char* end = std::to_chars(text, text + sizeof text, value).ptr;
  std::memcpy(out.add(static_cast<size_t>(end - text)), text, static_cast<size_t>(end - text));
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
  const auto push = [&](std::string_view text) { std::memcpy(out.add(text.size()), text.data(), text.size()); };
  push("[");
  for (size_t at = 0; at < page.places; ++at) {
    const int64_t candidate = page.order[at];
    push(at == 0 ? "{\"item\":" : ",{\"item\":");
    page.items != nullptr ? push_integer(out, page.items[at]) : push(page.told[at]);
    push(",\"position\":");
    push_integer(out, static_cast<int64_t>(at));
    push(",\"value\":");
    push_number(out, page.value[candidate]);
    push(",\"scores\":{");
    for (size_t task = 0; task < page.names.size(); ++task) {
      if (task != 0) push(",");
      push(page.names[task]);
      push_number(out, static_cast<double>(page.scores[task][candidate]));
    }
    push("}}");
  }
  push("]");
}

}  // namespace larix
