#include "tensors.hpp"

#include <array>
#include <vector>

#include "wire.hpp"

namespace larix::oip {

namespace {

using json::Text;

struct Tensor {
  std::string_view name, datatype, data;
  std::array<int64_t, 2> shape;
  size_t dimensions;
};

bool whole(Text& text, int64_t* value) {
  json::Number number;
  if (!text.take(&number) || !number.whole || number.negative || number.digits > Column::kMost || !number.exact) return false;
  *value = static_cast<int64_t>(number.digits);
  return true;
}

bool shape_of(Text& text, Tensor* tensor) {
  if (!text.take('[')) return false;
  tensor->dimensions = 0;
  do {
    text.blanks();
    if (tensor->dimensions == 2 || !whole(text, &tensor->shape[tensor->dimensions++])) return false;
    text.blanks();
  } while (text.take(','));
  return text.take(']');
}

bool size_of(Text& text, int64_t* size) {
  std::string_view name;
  if (!text.take('{')) return false;
  text.blanks();
  if (!text.take_name(&name) || name != "binary_data_size") return false;
  text.blanks();
  if (!text.take(':')) return false;
  text.blanks();
  if (!whole(text, size)) return false;
  text.blanks();
  return text.take('}');
}

// One tensor's JSON: each of its four members once. Its data are taken off ``left``.
bool tensor_of(Text& text, std::string_view& left, Tensor* tensor) {
  std::string_view member;
  int64_t size = 0;
  unsigned told = 0;
  if (!text.take('{')) return false;
  do {
    text.blanks();
    if (!text.take_name(&member)) return false;
    text.blanks();
    if (!text.take(':')) return false;
    text.blanks();
    unsigned which = 0;
    bool good = false;
    if (member == "name") {
      which = 1;
      good = text.take_name(&tensor->name);
    } else if (member == "datatype") {
      which = 2;
      good = text.take_name(&tensor->datatype);
    } else if (member == "shape") {
      which = 4;
      good = shape_of(text, tensor);
    } else if (member == "parameters") {
      which = 8;
      good = size_of(text, &size);
    }
    if (!good || (told & which) != 0) return false;
    told |= which;
    text.blanks();
  } while (text.take(','));
  if (!text.take('}') || told != 15 || static_cast<size_t>(size) > left.size()) return false;
  tensor->data = left.substr(0, static_cast<size_t>(size));
  left.remove_prefix(static_cast<size_t>(size));
  return true;
}

// Sizes of a tensor behind those that it has: one, or several in a row.
bool shape_of(const wire::Field& field, Tensor* tensor) {
  wire::Message sizes(field.bytes);
  uint64_t size = field.value;
  do {
    if (field.key == wire::key_of(3, wire::kBytes) && !sizes.take(&size)) return false;
    if (tensor->dimensions == 2 || size > Column::kMost) return false;
    tensor->shape[tensor->dimensions++] = static_cast<int64_t>(size);
  } while (!sizes.over());
  return true;
}

// An InferInputTensor without its data: a name, a datatype and a shape.
bool tensor_of(std::string_view message, Tensor* tensor) {
  wire::Message left(message);
  wire::Field field;
  const auto once = [&](std::string_view& text) {
    if (!text.empty()) return false;
    text = field.bytes;
    return true;
  };
  while (!left.over()) {
    if (!left.take(&field)) return false;
    bool good = false;
    switch (field.key) {
      case wire::key_of(1, wire::kBytes): good = once(tensor->name); break;
      case wire::key_of(2, wire::kBytes): good = once(tensor->datatype); break;
      case wire::key_of(3, wire::kVarint):
      case wire::key_of(3, wire::kBytes): good = shape_of(field, tensor); break;
    }
    if (!good) return false;
  }
  return tensor->dimensions != 0;
}

constexpr uint32_t kInputs = 5, kRaw = 7;  // of a ModelInferRequest

bool is_tensor(const wire::Field& field) { return field.number() == kInputs || field.number() == kRaw; }

std::string_view datatype_of(Type type) {
  static constexpr std::string_view names[] = {"BOOL",   "INT8",   "INT16",  "INT32", "INT64", "UINT8", "UINT16",
                                               "UINT32", "UINT64", "FP32",   "FP64",  "BYTES", "BYTES"};
  return names[static_cast<size_t>(type)];
}

bool is_utf8(std::string_view text) {
  Text rest(text);
  while (!rest.over())
    if (!rest.take_character()) return false;
  return true;
}

// ``count`` elements, each behind its length of four bytes.
bool take_bytes(Column& column, std::string_view data, int64_t count) {
  for (int64_t at = 0; at < count; ++at) {
    uint32_t size = 0;
    if (data.size() < sizeof size) return false;
    std::memcpy(&size, data.data(), sizeof size);
    data.remove_prefix(sizeof size);
    if (data.size() < size) return false;
    const std::string_view text = data.substr(0, size);
    if (column.type == Type::string && !is_utf8(text)) return false;
    if (size != 0) std::memcpy(column.values.add(size), text.data(), size);
    if (!column.end()) return false;
    data.remove_prefix(size);
  }
  return data.empty();
}

bool take_elements(Column& column, const Tensor& tensor, int64_t count) {
  if (tensor.datatype != datatype_of(column.type)) return false;
  if (column.text()) return take_bytes(column, tensor.data, count);
  if (tensor.data.size() != static_cast<size_t>(count) * column.width()) return false;
  if (column.type == Type::boolean)
    for (const char each : tensor.data)
      if (each != 0 && each != 1) return false;
  column.take(tensor.data.data(), count);
  return true;
}

bool take_lists(Column& column, const Tensor& tensor, const Tensor* lengths) {
  const auto end = [&](int64_t at) {
    column.ends.push(static_cast<int32_t>(at));
    ++column.size;
  };
  if (lengths == nullptr) {
    const auto [rows, width] = tensor.shape;
    if (tensor.dimensions != 2 || rows * width > static_cast<int64_t>(Column::kMost)) return false;
    if (!take_elements(*column.elements, tensor, rows * width)) return false;
    for (int64_t at = 1; at <= rows; ++at) end(at * width);
    return true;
  }
  const int64_t size = tensor.shape[0];
  if (tensor.dimensions != 1 || lengths->dimensions != 1 || lengths->datatype != "INT64") return false;
  if (lengths->data.size() != static_cast<size_t>(lengths->shape[0]) * sizeof(int64_t)) return false;
  if (!take_elements(*column.elements, tensor, size)) return false;
  int64_t sum = 0;
  for (int64_t at = 0; at < lengths->shape[0]; ++at) {
    int64_t length = 0;
    std::memcpy(&length, lengths->data.data() + static_cast<size_t>(at) * sizeof length, sizeof length);
    if (length < 0 || length > size - sum) return false;
    end(sum += length);
  }
  return sum == size;
}

bool take(Column& column, const Tensor& tensor, const Tensor* lengths) {
  if (column.elements != nullptr) return take_lists(column, tensor, lengths);
  if (lengths != nullptr || (tensor.dimensions == 2 && tensor.shape[1] != 1)) return false;
  return take_elements(column, tensor, tensor.shape[0]);
}

// Tensors by what they are of: which of the two, the column, and whether it is its lengths.
class Given {
 public:
  Given(const json::Reader& context, const json::Reader& candidates)
      : readers_{&context, &candidates}, tensors_{slots(context), slots(candidates)} {}

  bool put(const Tensor& tensor) {
    constexpr std::string_view suffix = ".lengths";
    for (size_t which = 0; which < 2; ++which) {
      int64_t at = readers_[which]->names().find(tensor.name, likely_);
      size_t slot = 0;
      if (at < 0 && tensor.name.ends_with(suffix)) {
        at = readers_[which]->names().find(tensor.name.substr(0, tensor.name.size() - suffix.size()), likely_ - 1);
        if (at >= 0 && !readers_[which]->fields()[static_cast<size_t>(at)].lists) return false;
        slot = 1;
      }
      if (at < 0) continue;
      if (slot == 0 && tensor.name.ends_with(suffix)) return false;  // or is it another's lengths?
      likely_ = at + 1;
      auto& place = tensors_[which][static_cast<size_t>(at)][slot];
      if (place.dimensions != 0) return false;
      place = tensor;
      return true;
    }
    return false;
  }

  // Into ``batch``, columns of as many ``rows``, at most ``most``; -1 are not known yet.
  bool take(size_t which, Batch& batch, int64_t most, int64_t* rows) const {
    for (size_t at = 0; at < batch.columns.size(); ++at) {
      const auto& [tensor, lengths] = tensors_[which][at];
      if (tensor.dimensions == 0 && lengths.dimensions == 0) continue;
      if (tensor.dimensions == 0) return false;
      const Tensor* each = lengths.dimensions == 0 ? nullptr : &lengths;
      // Before anything is made of it: a shape may tell of more rows than there are bytes.
      const int64_t told = each != nullptr ? each->shape[0] : tensor.shape[0];
      if (told > most || (*rows >= 0 && told != *rows) || !oip::take(batch.columns[at], tensor, each)) return false;
      *rows = told;
    }
    return true;
  }

  // Of all columns, or false.
  bool take(const Terms& terms, Batch& own, Batch& theirs, int64_t* rows) const {
    int64_t one = 1;
    *rows = -1;
    if (!has(1, terms.item) || !take(0, own, 1, &one) || !take(1, theirs, terms.most, rows)) return false;
    return json::Reader::fill(1, terms.time, terms.now, own) && json::Reader::fill(*rows, -1, 0, theirs);
  }

  // More tensors than that there cannot be.
  size_t most() const { return 2 * (tensors_[0].size() + tensors_[1].size()); }

 private:
  bool has(size_t which, int64_t at) const { return tensors_[which][static_cast<size_t>(at)][0].dimensions != 0; }

  using Slots = std::vector<std::array<Tensor, 2>>;  // without dimensions: not given

  static Slots slots(const json::Reader& reader) { return Slots(reader.fields().size()); }

  const json::Reader* readers_[2];
  Slots tensors_[2];
  int64_t likely_ = 0;
};

}  // namespace

bool read(std::string_view inputs, std::string_view data, const json::Reader& context, const json::Reader& candidates,
          const Terms& terms, Batch& own, Batch& theirs, int64_t* rows) {
  Text text(inputs);
  Given given(context, candidates);
  if (!text.take('[')) return false;
  do {
    text.blanks();
    Tensor tensor{};
    if (!tensor_of(text, data, &tensor) || !given.put(tensor)) return false;
    text.blanks();
  } while (text.take(','));
  return text.take(']') && text.over() && data.empty() && given.take(terms, own, theirs, rows);
}

bool read_message(std::string_view message, const json::Reader& context, const json::Reader& candidates, const Terms& terms,
                  Batch& own, Batch& theirs, int64_t* rows) {
  Given given(context, candidates);
  std::vector<Tensor> tensors;
  std::vector<std::string_view> data;
  wire::Message left(message);
  wire::Field field;
  while (!left.over()) {
    if (!left.take(&field)) return false;
    if (!is_tensor(field)) continue;
    if (field.key == wire::key_of(kInputs, wire::kBytes)) {
      if (!tensor_of(field.bytes, &tensors.emplace_back())) return false;
    } else if (field.key == wire::key_of(kRaw, wire::kBytes)) {
      data.push_back(field.bytes);
    } else {
      return false;
    }
    if (std::max(tensors.size(), data.size()) > given.most()) return false;
  }
  if (tensors.size() != data.size()) return false;
  for (size_t at = 0; at < data.size(); ++at) {
    tensors[at].data = data[at];
    if (!given.put(tensors[at])) return false;
  }
  return given.take(terms, own, theirs, rows);
}

bool rest_of(std::string_view message, int64_t most, std::string* rest) {
  wire::Message left(message);
  wire::Field field;
  for (int64_t count = 0; !left.over(); ++count) {
    if (count == most || !left.take(&field)) return false;
    if (!is_tensor(field)) rest->append(field.whole);
  }
  return true;
}

}  // namespace larix::oip
