// Columns of Arrow's C data interface in the making, value by value:
// https://arrow.apache.org/docs/format/CDataInterface.html. Knows nothing of where values come from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

extern "C" struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};

namespace larix {

enum class Type : uint8_t {
  boolean, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, string, binary
};

// The type that columns.py calls so.
inline std::optional<Type> type_of(std::string_view name) {
  static constexpr std::string_view names[] = {"bool",   "int8",   "int16",   "int32",   "int64",  "uint8", "uint16",
                                               "uint32", "uint64", "float32", "float64", "string", "binary"};
  for (size_t at = 0; at < std::size(names); ++at)
    if (names[at] == name) return static_cast<Type>(at);
  return std::nullopt;
}

// Bytes that grow at their end.
class Bytes {
 public:
  // Room for so many more, to be filled in.
  char* add(size_t size) {
    if (size > capacity_ - size_) grow(size);
    return data_.get() + std::exchange(size_, size_ + size);
  }

  // So many will be there in the end, as far as is known.
  void expect(size_t size) {
    if (size > capacity_) resize(size);
  }

  template <class T>
  void push(T value) {
    std::memcpy(add(sizeof value), &value, sizeof value);
  }

  // Takes back the last so many.
  void drop(size_t size) { size_ -= size; }

  char* data() { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(char* data) const { std::free(data); }
  };

  void grow(size_t size) { resize(std::max<size_t>(std::max(size_ + size, 2 * capacity_), 16)); }

  void resize(size_t capacity) {
    char* moved = static_cast<char*>(std::realloc(data_.get(), capacity));
    if (moved == nullptr) throw std::bad_alloc();
    (void)data_.release();
    data_.reset(moved);
    capacity_ = capacity;
  }

  std::unique_ptr<char, Free> data_;
  size_t size_ = 0, capacity_ = 0;
};

struct Field {
  std::string name;
  Type type;
  bool lists;
};

// ``values``: numbers as they are, a byte for a boolean, or text end to end. ``ends``: int32, of text and of lists.
struct Column {
  static constexpr size_t kMost = std::numeric_limits<int32_t>::max();  // bytes of text, or elements of lists

  Column(Type type, bool lists) : type(type) {
    if (lists) elements = std::make_unique<Column>(type, false);
    if (lists || text()) ends.push<int32_t>(0);
  }

  bool text() const { return type >= Type::string; }

  // Bytes of a number.
  size_t width() const {
    static constexpr uint8_t widths[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 0, 0};
    return widths[static_cast<size_t>(type)];
  }

  void expect(int64_t rows) {
    const auto count = static_cast<size_t>(rows);
    if (elements != nullptr || text()) ends.expect((count + 1) * sizeof(int32_t));
    if (elements == nullptr) values.expect(count * width());
  }

  void add_null() {
    nulls.push_back(size);
    if (elements != nullptr || text()) {
      end();
    } else {
      std::memset(values.add(width()), 0, width());
      ++size;
    }
  }

  // The text, or the list, that was added to is whole; false if the column holds too much then.
  bool end() {
    const size_t held = elements != nullptr ? static_cast<size_t>(elements->size) : values.size();
    ends.push(static_cast<int32_t>(held));
    ++size;
    return held <= kMost;
  }

  // Takes so many numbers as they lie at ``data``, which has to outlive the column if that is where they may stay. Only once,
  // and instead of adding values.
  void take(const char* data, int64_t count) {
    size = count;
    if (type != Type::boolean && reinterpret_cast<uintptr_t>(data) % width() == 0) {
      lent = data;
    } else if (count != 0) {
      std::memcpy(values.add(static_cast<size_t>(count) * width()), data, static_cast<size_t>(count) * width());
    }
  }

  // Nothing is added any more: ``array`` tells where it lies.
  void finish();

  Type type;
  int64_t size = 0;
  std::vector<int64_t> nulls;
  Bytes values, ends, valid;
  const char* lent = nullptr;  // values that lie elsewhere
  std::unique_ptr<Column> elements;
  const void* buffers[3] = {};
  ArrowArray array{};
  ArrowArray* children[1] = {};
};

inline void Column::finish() {
  if (!nulls.empty()) {
    const size_t bytes = static_cast<size_t>(size + 7) / 8;
    char* bits = valid.add(bytes);
    std::memset(bits, 0xff, bytes);
    for (const int64_t at : nulls) bits[at / 8] = static_cast<char>(bits[at / 8] & ~(1 << at % 8));
    buffers[0] = bits;
  }
  array.length = size;
  array.null_count = static_cast<int64_t>(nulls.size());
  array.n_buffers = 2;
  if (elements != nullptr) {
    elements->finish();
    children[0] = &elements->array;
    array.n_children = 1;
    array.children = children;
    buffers[1] = ends.data();
  } else if (text()) {
    array.n_buffers = 3;
    buffers[1] = ends.data();
    buffers[2] = values.data();
  } else {
    if (type == Type::boolean) {
      Bytes bits;
      const size_t bytes = static_cast<size_t>(size + 7) / 8;
      if (bytes != 0) std::memset(bits.add(bytes), 0, bytes);
      for (int64_t at = 0; at < size; ++at)
        bits.data()[at / 8] = static_cast<char>(bits.data()[at / 8] | values.data()[at] << at % 8);
      values = std::move(bits);
    }
    buffers[1] = lent != nullptr ? lent : values.data();
  }
  array.buffers = buffers;
  array.release = [](ArrowArray* mine) { mine->release = nullptr; };  // what it holds goes with the batch
}

struct Batch {
  explicit Batch(const std::vector<Field>& fields) {
    columns.reserve(fields.size());
    for (const Field& field : fields) columns.emplace_back(field.type, field.lists);
  }

  std::vector<Column> columns;
  std::shared_ptr<const void> owner;  // of what columns lend
  std::vector<ArrowArray*> children;
  const void* buffers[1] = {};
};

// The batch of ``rows``, which goes when it is released.
inline ArrowArray handed_over(std::unique_ptr<Batch> batch, int64_t rows) {
  for (Column& column : batch->columns) {
    column.finish();
    batch->children.push_back(&column.array);
  }
  ArrowArray array{};
  array.length = rows;
  array.n_buffers = 1;
  array.n_children = static_cast<int64_t>(batch->children.size());
  array.buffers = batch->buffers;
  array.children = batch->children.data();
  array.release = [](ArrowArray* mine) {
    delete static_cast<Batch*>(mine->private_data);
    mine->release = nullptr;
  };
  array.private_data = batch.release();
  return array;
}

}  // namespace larix
