// Feeds the readers of JSON, of binary tensors and of messages anything: they must give up, or hold columns that are whole. With clang's -fsanitize=fuzzer (and
// -DLARIX_LIBFUZZER) libFuzzer drives it; else main writes and mutates requests. Usage: fuzz_json [inputs] [seed].
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "json_columns.hpp"
#include "page.hpp"
#include "tensors.hpp"
#include "wire.hpp"

namespace {

using larix::Batch;
using larix::Column;
using larix::Field;
using larix::Type;

constexpr int64_t kMost = 64;

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "fuzz_json: %s\n", what);
  std::abort();
}

std::vector<Field> fields_from(char first) {
  std::vector<Field> fields;
  for (int type = 0; type <= static_cast<int>(Type::binary); ++type)
    for (const bool lists : {false, true})
      fields.push_back({std::string(1, static_cast<char>(first + type)) + (lists ? "s" : ""), static_cast<Type>(type), lists});
  return fields;
}

const larix::json::Reader& reader() {
  static const larix::json::Reader made(fields_from('a'));
  return made;
}

// Of other columns.
const larix::json::Reader& other() {
  static const larix::json::Reader made(fields_from('A'));
  return made;
}

char touched = 0;  // so that what is lent is read

void expect_whole(Column& column, int64_t rows) {
  expect(column.size == rows, "a column is not as long as the others");
  int32_t before = 0;
  const int32_t* ends = reinterpret_cast<const int32_t*>(column.ends.data());
  for (size_t at = 0; at < column.ends.size() / sizeof *ends; ++at) {
    expect(ends[at] >= before, "an end lies before the one before");
    before = ends[at];
  }
  if (column.elements != nullptr) {
    expect(column.ends.size() == (static_cast<size_t>(rows) + 1) * sizeof *ends, "a list has no end");
    expect_whole(*column.elements, before);
  } else if (column.text()) {
    expect(column.ends.size() == (static_cast<size_t>(rows) + 1) * sizeof *ends, "a text has no end");
    expect(column.values.size() == static_cast<size_t>(before), "text is left over");
  } else {
    const size_t bytes = static_cast<size_t>(rows) * column.width();
    expect(column.lent != nullptr || column.values.size() == bytes, "a value is missing");
    for (size_t at = 0; column.lent != nullptr && at < bytes; ++at) touched ^= column.lent[at];
  }
  for (const int64_t at : column.nulls) expect(at >= 0 && at < rows, "a null lies outside");
}

bool held(std::unique_ptr<Batch> batch, int64_t rows) {
  for (Column& column : batch->columns) expect_whole(column, rows);
  ArrowArray array = larix::handed_over(std::move(batch), rows);
  array.release(&array);
  return true;
}

int64_t sound = 0, sound_tensors = 0, sound_messages = 0;

void expect_message(const std::vector<char>& message) {
  const std::string_view bytes(message.data(), message.size());
  auto mine = std::make_unique<Batch>(other().fields()), theirs = std::make_unique<Batch>(reader().fields());
  int64_t rows = 0;
  std::string rest;
  const bool read = larix::oip::read_message(bytes, other(), reader(), {8, kMost, 8, 1700000000000}, *mine, *theirs, &rows);
  const bool cut = larix::oip::rest_of(bytes, 1 << 14, &rest);
  expect(rest.size() <= bytes.size() && (cut || !read), "what is read is no message");
  if (!read) return;
  expect(rows <= kMost, "there are too many rows");
  sound_messages += held(std::move(mine), 1) && held(std::move(theirs), rows);
}

// What a number is written as must be read as the same one.
void expect_same(double value) {
  larix::Bytes out;
  larix::push_number(out, value);
  double found = 0;
  const auto [end, error] = std::from_chars(out.data(), out.data() + out.size(), found);
  expect(error == std::errc() && end == out.data() + out.size(), "a number is written as none");
  expect(found == value && std::signbit(found) == std::signbit(value), "a number is written as another");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  expect_message({data, data + size});
  // The document ends at the first zero; tensors follow. Each is so long and no longer.
  const uint8_t* zero = std::find(data, data + size, uint8_t{0});
  const std::vector<char> document(data, zero), tensors(zero + (zero != data + size), data + size);
  std::vector<std::string_view> values;
  std::string rest;
  if (!larix::json::parted({document.data(), document.size()}, {"user", "context", "candidates", "inputs"}, &values, &rest))
    return 0;
  auto mine = std::make_unique<Batch>(reader().fields()), theirs = std::make_unique<Batch>(reader().fields());
  std::vector<std::string_view> objects;
  for (const size_t at : {0, 1})
    if (!values[at].empty()) objects.push_back(values[at]);
  int64_t rows = 0;
  const bool context = reader().row(objects, 8, 1700000000000, *mine) && held(std::move(mine), 1);
  const bool candidates = reader().rows(values[2], 8, kMost, *theirs, &rows) && held(std::move(theirs), rows);
  expect(!candidates || rows <= kMost, "there are too many rows");
  sound += context && candidates;
  mine = std::make_unique<Batch>(reader().fields());
  theirs = std::make_unique<Batch>(reader().fields());
  if (larix::oip::read(values[3], {tensors.data(), tensors.size()}, other(), reader(), {8, kMost, 8, 1700000000000}, *mine,
                       *theirs, &rows)) {
    expect(rows <= kMost, "there are too many rows");
    sound_tensors += held(std::move(mine), 1) && held(std::move(theirs), rows);
  }
  double number = 0;
  if (size >= sizeof number) {
    std::memcpy(&number, data + size - sizeof number, sizeof number);
    if (std::isfinite(number)) expect_same(number);
  }
  return 0;
}

#ifndef LARIX_LIBFUZZER

namespace {

using Random = std::mt19937_64;

std::string value_of(const Field& field, bool list, Random& random) {
  if (list) {
    std::string found = "[";
    for (size_t n = random() % 4, at = 0; at < n; ++at) found += (at ? " , " : "") + value_of(field, false, random);
    return found + "]";
  }
  if (random() % 10 == 0 || field.type == Type::binary) return "null";
  if (field.type == Type::boolean) return random() % 2 ? "true" : "false";
  if (field.type == Type::string) {
    static const char* const texts[] = {"\"\"", "\"plain\"", "\"\\u00e9\\n\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\""};
    return texts[random() % std::size(texts)];
  }
  if (field.type < Type::float32) return std::to_string(random() % 128);
  larix::Bytes out;
  larix::push_number(out, std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 200) - 160));
  return {out.data(), out.size()};
}

std::string object_of(Random& random, size_t rows) {  // 0: of one row
  std::string found = rows != 0 ? "{\"e\":[" : "{\"e\":1";
  for (size_t at = 0; at < rows; ++at) found += at ? ",2" : "2";
  if (rows != 0) found += "]";
  for (const Field& field : reader().fields()) {
    if (field.name == "e" || random() % 2) continue;
    found += ", \"" + field.name + "\": ";
    if (rows == 0) {
      found += value_of(field, field.lists, random);
      continue;
    }
    for (size_t at = 0; at < rows; ++at) found += (at ? "," : "[") + value_of(field, field.lists, random);
    found += "]";
  }
  return found + "}";
}

// ``size`` numbers or texts of a type, as bytes.
std::string bytes_of(const Field& field, size_t size, Random& random) {
  std::string found;
  for (size_t at = 0; at < size; ++at) {
    if (field.type < Type::string) {
      const uint64_t value = field.type == Type::boolean ? random() % 2 : random();
      found.append(reinterpret_cast<const char*>(&value), Column(field.type, false).width());
    } else {
      const std::string text = random() % 2 ? "\xc3\xa9" : "plain";
      const auto length = static_cast<uint32_t>(text.size());
      found.append(reinterpret_cast<const char*>(&length), sizeof length).append(text);
    }
  }
  return found;
}

struct Tensor {
  std::string name;
  std::string datatype;
  std::vector<size_t> shape;
  std::string data;
};

std::vector<Tensor> some_tensors(Random& random) {
  static constexpr std::string_view datatypes[] = {"BOOL",   "INT8",   "INT16", "INT32", "INT64", "UINT8", "UINT16",
                                                   "UINT32", "UINT64", "FP32",  "FP64",  "BYTES", "BYTES"};
  std::vector<Tensor> found;
  const size_t rows = random() % 6;
  for (const auto* which : {&other(), &reader()}) {
    const size_t own = which == &other() ? 1 : rows;
    for (const Field& field : which->fields()) {
      if (field.name != "e" && random() % 4) continue;
      const auto datatype = datatypes[static_cast<size_t>(field.type)];
      const bool pairs = field.lists && random() % 2;
      found.push_back({field.name, std::string(datatype), {own}, bytes_of(field, pairs ? 2 * own : own, random)});
      if (pairs) found.back().shape.push_back(2);
      if (!field.lists || pairs) continue;
      found.push_back({field.name + ".lengths", "INT64", {own}, {}});
      const int64_t one = 1;
      for (size_t at = 0; at < own; ++at) found.back().data.append(reinterpret_cast<const char*>(&one), sizeof one);
    }
  }
  return found;
}

std::string good_tensors(Random& random) {
  std::string told, data;
  for (const Tensor& each : some_tensors(random)) {
    told += (told.empty() ? "" : ", ") + ("{\"name\":\"" + each.name) + "\",\"datatype\":\"" + each.datatype + "\",\"shape\": [";
    for (const size_t size : each.shape) told += (told.back() == '[' ? "" : ",") + std::to_string(size);
    told += "],\"parameters\":{\"binary_data_size\":" + std::to_string(each.data.size()) + "}}";
    data += each.data;
  }
  return "{\"inputs\":[" + told + "]}" + std::string(1, '\0') + data;
}

std::string field_of(uint32_t number, std::string_view content) {
  std::string found(1, static_cast<char>(larix::wire::key_of(number, larix::wire::kBytes)));
  size_t size = content.size();
  for (; size > 127; size >>= 7) found += static_cast<char>(size | 128);
  return found + static_cast<char>(size) + std::string(content);
}

std::string good_message(Random& random) {
  std::string inputs = field_of(1, "feed"), raws;
  for (const Tensor& each : some_tensors(random)) {
    std::string shape, told = field_of(1, each.name) + field_of(2, each.datatype);
    const bool packed = random() % 4;
    for (const size_t size : each.shape) (packed ? shape : told) += (packed ? "" : "\x18") + std::string(1, static_cast<char>(size));
    inputs += field_of(5, packed ? told + field_of(3, shape) : told);
    raws += field_of(7, each.data);
  }
  return random() % 2 ? inputs + raws : raws + inputs;
}

std::string good_request(Random& random) {
  if (random() % 3 == 0) return random() % 2 ? good_tensors(random) : good_message(random);
  std::string found = "{\"user\":" + object_of(random, 0) + ",\"count\": 3, \"candidates\":";
  const size_t rows = 1 + random() % 5;
  if (random() % 2) return found + object_of(random, rows) + " }";
  for (size_t at = 0; at < rows; ++at) found += (at ? "," : "[") + object_of(random, 0);
  return found + "]}";
}

std::string mutate(std::string bytes, Random& random) {
  static constexpr std::string_view marks = "{}[]\",:\\ -.eEu0129ntf\xc3\xed\xf0";
  for (size_t n = random() % 4; n != 0 && !bytes.empty(); --n) {
    const size_t at = random() % bytes.size();
    switch (random() % 6) {
      case 0: bytes[at] = static_cast<char>(random()); break;
      case 1: bytes[at] = marks[random() % marks.size()]; break;
      case 2: bytes.resize(at); break;
      case 3: bytes.insert(at, std::string(random() % 100, marks[random() % marks.size()])); break;
      case 4: bytes.erase(at, random() % 20); break;
      default: bytes.insert(random() % bytes.size(), bytes.substr(at, random() % 50));
    }
  }
  return bytes;
}

// However many digits a number has, its exponent is right, or it is none.
void expect_bounded() {
  for (const std::string begin : {"", "-0."}) {
    for (const int power : {0, 9999, -9999}) {
      for (const int64_t count : {int64_t{1}, larix::json::kMostDigits / 2, larix::json::kMostDigits, 3 * larix::json::kMostDigits}) {
        const std::string text = begin + std::string(static_cast<size_t>(count), '1') + "e" + std::to_string(power);
        larix::json::Number number;
        const bool read = larix::json::Text(text).take(&number);
        expect(read == (count < larix::json::kMostDigits), "a number of too many digits is read, or another is not");
        const int64_t exponent = power - (begin.empty() ? 0 : count);
        expect(!read || number.exponent == exponent, "an exponent is wrong");
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t inputs = argc > 1 ? std::atoll(argv[1]) : 1000000;
  Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  expect_bounded();
  std::string good;
  for (int64_t input = 0; input < inputs; ++input) {
    if (input % 8 == 0) good = good_request(random);
    const std::string bytes = mutate(good, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  for (const int64_t each : {sound, sound_tensors, sound_messages})
    expect(each > inputs / 40 && each < inputs, "the inputs are all good or all bad");
  std::printf("fuzz_json: %lld inputs, sound: %lld requests, %lld of tensors, %lld messages\n", static_cast<long long>(inputs),
              static_cast<long long>(sound), static_cast<long long>(sound_tensors), static_cast<long long>(sound_messages));
}

#endif
