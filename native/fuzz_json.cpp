// Feeds the JSON reader anything: it must give up, or hold columns that are whole. With clang's -fsanitize=fuzzer (and
// -DLARIX_LIBFUZZER) libFuzzer drives it; else main writes and mutates requests. Usage: fuzz_json [inputs] [seed].
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "json_columns.hpp"
#include "page.hpp"

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

const larix::json::Reader& reader() {
  static const larix::json::Reader made([] {
    std::vector<Field> fields;
    for (int type = 0; type <= static_cast<int>(Type::binary); ++type)
      for (const bool lists : {false, true})
        fields.push_back({std::string(1, static_cast<char>('a' + type)) + (lists ? "s" : ""), static_cast<Type>(type), lists});
    return fields;
  }());
  return made;
}

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
    expect(column.values.size() == static_cast<size_t>(rows) * column.width(), "a value is missing");
  }
  for (const int64_t at : column.nulls) expect(at >= 0 && at < rows, "a null lies outside");
}

bool held(std::unique_ptr<Batch> batch, int64_t rows) {
  for (Column& column : batch->columns) expect_whole(column, rows);
  ArrowArray array = larix::handed_over(std::move(batch), rows);
  array.release(&array);
  return true;
}

int64_t sound = 0;

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
  const std::string given(reinterpret_cast<const char*>(data), size);  // so long and no longer
  const std::vector<char> exact(given.begin(), given.end());           // without a zero behind it
  std::vector<std::string_view> values;
  std::string rest;
  if (!larix::json::parted({exact.data(), exact.size()}, {"user", "context", "candidates"}, &values, &rest)) return 0;
  auto mine = std::make_unique<Batch>(reader().fields()), theirs = std::make_unique<Batch>(reader().fields());
  std::vector<std::string_view> objects;
  for (const size_t at : {0, 1})
    if (!values[at].empty()) objects.push_back(values[at]);
  int64_t rows = 0;
  const bool context = reader().row(objects, 8, 1700000000000, *mine) && held(std::move(mine), 1);
  const bool candidates = reader().rows(values[2], 8, kMost, *theirs, &rows) && held(std::move(theirs), rows);
  expect(!candidates || rows <= kMost, "there are too many rows");
  sound += context && candidates;
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

std::string good_request(Random& random) {
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

}  // namespace

int main(int argc, char** argv) {
  const int64_t inputs = argc > 1 ? std::atoll(argv[1]) : 1000000;
  Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  std::string good;
  for (int64_t input = 0; input < inputs; ++input) {
    if (input % 8 == 0) good = good_request(random);
    const std::string bytes = mutate(good, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  expect(sound > inputs / 10 && sound < inputs, "the inputs are all good or all bad");
  std::printf("fuzz_json: %lld inputs, %lld of them sound\n", static_cast<long long>(inputs), static_cast<long long>(sound));
}

#endif
