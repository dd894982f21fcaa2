#include "json_columns.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <functional>
#include <limits>
#include <type_traits>

namespace larix::json {

namespace {

template <class T>
bool integer(const Number& number, T* out) {
  if (!number.whole) return false;
  uint64_t size = number.digits;
  if (!number.exact) {  // nineteen digits always fit
    const char* first = number.begin + number.negative;
    if (std::from_chars(first, number.end, size).ec != std::errc()) return false;
  }
  constexpr auto most = static_cast<uint64_t>(std::numeric_limits<T>::max());
  if (size > most + (number.negative && std::is_signed_v<T>)) return false;
  if (number.negative && !std::is_signed_v<T> && size != 0) return false;
  *out = static_cast<T>(number.negative ? 0 - size : size);
  return true;
}

template <class T>
bool real(const Number& number, T* out) {
  if (number.whole) {
    constexpr uint64_t exact = uint64_t{1} << std::numeric_limits<T>::digits;  // from there on integers are skipped
    if (!number.exact || number.digits > exact) return false;
    const auto size = static_cast<T>(number.digits);
    *out = number.negative && number.digits != 0 ? -size : size;
    return true;
  }
  static constexpr double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  constexpr auto known = static_cast<int32_t>(std::size(powers));
  double found = 0;
  if (number.exact && number.digits <= uint64_t{1} << 53 && number.exponent < known && number.exponent > -known) {
    // Both are exact, so that the one operation rounds as is due (Clinger 1990).
    found = static_cast<double>(number.digits);
    found = number.exponent < 0 ? found / powers[-number.exponent] : found * powers[number.exponent];
    if (number.negative) found = -found;
  } else if (std::from_chars(number.begin, number.end, found).ec != std::errc()) {
    return false;
  }
  *out = static_cast<T>(found);  // what is beyond 32 bits is infinite in them
  return true;
}

template <class T>
bool read_number(Column& column, Text& text) {
  Number number;
  T value;
  if (!text.take(&number)) return false;
  if constexpr (std::is_floating_point_v<T>) {
    if (!real(number, &value)) return false;
  } else {
    if (!integer(number, &value)) return false;
  }
  column.values.push(value);
  ++column.size;
  return true;
}

bool read_boolean(Column& column, Text& text) {
  const bool value = text.peek() == 't';
  if (!text.take(value ? std::string_view("true") : std::string_view("false"))) return false;
  column.values.push(static_cast<char>(value));
  ++column.size;
  return true;
}

bool read_string(Column& column, Text& text) { return text.take_string(column.values) && column.end(); }

bool read_nothing(Column&, Text&) { return false; }

using Read = bool(Column&, Text&);

// What stands at ``text``, or null.
template <Read* read>
bool one(Column& column, Text& text) {
  if (text.peek() != 'n') return read(column, text);
  column.add_null();
  return text.take("null");
}

// An array of such.
template <Read* read>
bool many(Column& column, Text& text) {
  if (!text.take('[')) return false;
  text.blanks();
  if (text.take(']')) return true;
  do {
    text.blanks();
    if (!one<read>(column, text)) return false;
    text.blanks();
  } while (text.take(','));
  return text.take(']');
}

struct Reads {
  Read *one, *many;
};

template <Read* read>
constexpr Reads reads{&one<read>, &many<read>};

constexpr Reads kReads[] = {reads<read_boolean>,          reads<read_number<int8_t>>,   reads<read_number<int16_t>>,
                            reads<read_number<int32_t>>,  reads<read_number<int64_t>>,  reads<read_number<uint8_t>>,
                            reads<read_number<uint16_t>>, reads<read_number<uint32_t>>, reads<read_number<uint64_t>>,
                            reads<read_number<float>>,    reads<read_number<double>>,   reads<read_string>,
                            reads<read_nothing>};

bool read_list(Column& column, Text& text) {
  return kReads[static_cast<size_t>(column.type)].many(*column.elements, text) && column.end();
}

constexpr Reads kLists = reads<read_list>;

const Reads& reads_of(const Column& column) {
  return column.elements != nullptr ? kLists : kReads[static_cast<size_t>(column.type)];
}


}  // namespace

Names::Names(const std::vector<Field>& fields) : slots_(std::bit_ceil(2 * fields.size() + 1), -1) {
  for (const Field& field : fields) {
    size_t at = std::hash<std::string_view>()(field.name);
    while (slots_[at % slots_.size()] >= 0) ++at;
    slots_[at % slots_.size()] = static_cast<int32_t>(names_.size());
    names_.push_back(field.name);
  }
}

int64_t Names::find(std::string_view name, int64_t likely) const {
  if (static_cast<size_t>(likely) < names_.size() && names_[static_cast<size_t>(likely)] == name) return likely;
  for (size_t at = std::hash<std::string_view>()(name);; ++at) {
    const int32_t found = slots_[at % slots_.size()];
    if (found < 0 || names_[static_cast<size_t>(found)] == name) return found;
  }
}

bool Reader::name(Text& text, int64_t& likely) const {
  std::string_view name;
  text.blanks();
  if (!text.take_name(&name)) return false;
  likely = names_.find(name, likely);
  text.blanks();
  if (likely < 0 || !text.take(':')) return false;
  text.blanks();
  return true;
}

bool Reader::object(Text& text, int64_t row, Batch& batch) const {
  if (!text.take('{')) return false;
  text.blanks();
  if (text.take('}')) return true;
  int64_t at = 0;
  do {
    if (!name(text, at)) return false;
    Column& column = batch.columns[static_cast<size_t>(at++)];
    if (column.size > row || !reads_of(column).one(column, text)) return false;
    text.blanks();
  } while (text.take(','));
  return text.take('}');
}

bool Reader::row(const std::vector<std::string_view>& objects, int64_t time, int64_t now, Batch& batch) const {
  for (const std::string_view each : objects) {
    Text text(each);
    if (!object(text, 0, batch) || !text.over()) return false;
  }
  return fill(1, time, now, batch);
}

bool Reader::fill(int64_t rows, int64_t time, int64_t now, Batch& batch) {
  for (Column& column : batch.columns)
    while (column.size < rows) column.add_null();
  if (time < 0 || batch.columns[static_cast<size_t>(time)].nulls.empty()) return true;
  const std::string told = std::to_string(now);
  Text text(told);
  Column& when = batch.columns[static_cast<size_t>(time)];
  when = Column(when.type, when.elements != nullptr);
  return reads_of(when).one(when, text);
}

bool Reader::rows(std::string_view json, int64_t item, int64_t most, Batch& batch, int64_t* rows) const {
  Text text(json);
  const bool good = text.peek() == '[' ? objects(text, most, batch, rows) : lists(text, item, most, batch, rows);
  return good && text.over();
}

bool Reader::objects(Text& text, int64_t most, Batch& batch, int64_t* rows) const {
  *rows = 0;
  if (!text.take('[')) return false;
  text.blanks();
  if (text.take(']')) return true;
  do {
    text.blanks();
    if (*rows == most || !object(text, *rows, batch)) return false;
    ++*rows;
    fill(*rows, -1, 0, batch);
    text.blanks();
  } while (text.take(','));
  return text.take(']');
}

bool Reader::lists(Text& text, int64_t item, int64_t most, Batch& batch, int64_t* rows) const {
  *rows = -1;
  std::vector<bool> told(fields_.size());
  int64_t at = 0;
  if (!text.take('{')) return false;
  do {
    if (!name(text, at)) return false;
    const auto which = static_cast<size_t>(at++);
    Column& column = batch.columns[which];
    if (told[which]) return false;
    column.expect(std::max<int64_t>(*rows, 0));
    if (!reads_of(column).many(column, text)) return false;
    if (column.size > most || (*rows >= 0 && column.size != *rows)) return false;
    *rows = column.size;
    told[which] = true;
    text.blanks();
  } while (text.take(','));
  if (!text.take('}') || !told[static_cast<size_t>(item)]) return false;
  return fill(*rows, -1, 0, batch);
}

bool parted(std::string_view document, const std::vector<std::string>& names, std::vector<std::string_view>* values,
            std::string* rest) {
  Text text(document);
  std::vector<bool> told(names.size());
  values->assign(names.size(), {});
  rest->clear();
  const char* copied = document.data();
  text.blanks();
  if (!text.take('{')) return false;
  text.blanks();
  if (!text.take('}')) {
    do {
      std::string_view name;
      text.blanks();
      if (!text.take_name(&name)) return false;
      text.blanks();
      if (!text.take(':')) return false;
      text.blanks();
      const bool nested = text.peek() == '{' || text.peek() == '[';
      const char* begin = text.at();
      if (!text.skip()) return false;
      const auto known = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      if (known < names.size()) {
        if (told[known]) return false;
        told[known] = true;
        if (nested) {
          (*values)[known] = {begin, static_cast<size_t>(text.at() - begin)};
          rest->append(copied, begin).append(*begin == '{' ? "{}" : "[]");
          copied = text.at();
        }
      }
      text.blanks();
    } while (text.take(','));
    if (!text.take('}')) return false;
  }
  text.blanks();
  rest->append(copied, text.at());
  return text.over();
}

}  // namespace larix::json
