// A replica in an image: a header that says what it is and how it lies, the index, then the rows of each dim.
#include <bit>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "crc.hpp"
#include "replica.hpp"

namespace larix {

namespace {

using Words = std::vector<uint64_t>;

constexpr uint64_t kMagic = 0x31676D695841524C;  // of this order of things
constexpr size_t kAligned = 4096;

constexpr size_t aligned(size_t bytes) { return (bytes + kAligned - 1) / kAligned * kAligned; }

uint64_t checksum(const Words& words) { return crc32c(words.data(), words.size() * sizeof(uint64_t)); }

}  // namespace

// What the header says beside whose it is: how much there is of everything.
struct Replica::Extents {
  std::vector<uint64_t> sizes;  // by table
  ReplicaIndex::Extents shards{};
  std::vector<uint64_t> ends;  // by shelf

  template <class Visit>
  void each(const Visit& visit) {
    for (uint64_t& size : sizes) visit(size);
    for (ReplicaIndex::Extent& shard : shards) visit(shard.count), visit(shard.filled), visit(shard.erased);
    for (uint64_t& end : ends) visit(end);
  }
};

// Where things begin in an image; what is first, its header, is a checksum, then words that are the same in every image that
// this replica can take over, then the extents.
struct Replica::Places {
  size_t index;
  std::vector<size_t> rows;  // by shelf
  size_t end;
};

std::vector<uint64_t> Replica::identity(const Stamp& stamp) const {
  Words words{kMagic, ReplicaIndex::kShards, sizeof(Cells), static_cast<uint64_t>(format_), tables_.size()};
  words.insert(words.end(), stamp.begin(), stamp.end());
  for (size_t i = 1; i < tables_.size(); ++i) {
    words.insert(words.end(), {tables_[i].dim, std::bit_cast<uint32_t>(tables_[i].missing)});
  }
  return words;
}

Replica::Places Replica::places(const Extents& extents, size_t header_words) const {
  Places places{.index = aligned((1 + header_words) * sizeof(uint64_t)), .rows = {}, .end = 0};
  places.end = places.index + ReplicaIndex::image_bytes(extents.shards);
  for (size_t i = 0; i < owned_.size(); ++i) {
    places.rows.push_back(places.end);
    places.end += aligned(extents.ends[i] * owned_[i]->hot_stride());
  }
  return places;
}

Status Replica::freeze(const Stamp& stamp, std::function<void()> between) {
  if (image_.data()) return Status::error("its rows were moved into an image before");
  Extents extents{.sizes = {sizes_.begin(), sizes_.end()}, .shards = index_.extents(), .ends = {}};
  for (const auto& shelf : owned_) extents.ends.push_back(shelf->rows().end());
  Words header = identity(stamp);
  extents.each([&](uint64_t word) { header.push_back(word); });
  const Places places = this->places(extents, header.size());
  if (Status status = Image::create(places.end, image_, std::move(between)); !status.ok()) return status;

  const uint64_t sum = checksum(header);
  Status status = image_.write(0, &sum, sizeof(sum));
  if (status.ok()) status = image_.write(sizeof(sum), header.data(), header.size() * sizeof(uint64_t));
  size_t at = places.index;
  index_.each_chunk([&](const Cells* chunk, size_t bytes) {
    if (status.ok()) status = image_.write(at, chunk, bytes);
    at += bytes;
  });
  if (!status.ok()) return status;
  index_.adopt(extents.shards, image_.data() + places.index);  // the memory that it had goes, then that of slab after slab
  for (size_t i = 0; i < owned_.size(); ++i) {
    if (status = owned_[i]->rows().freeze(image_, places.rows[i]); !status.ok()) return status;
  }
  return image_.seal();
}

Status Replica::adopt(int descriptor, const Stamp& stamp) {
  if (image_.data()) return Status::error("its rows were moved into an image before");
  Image image;
  if (Status status = Image::open(descriptor, image); !status.ok()) return status;
  Words header = identity(stamp);
  const size_t whose = header.size();
  Extents extents{.sizes = std::vector<uint64_t>(sizes_.size()), .shards = {}, .ends = std::vector<uint64_t>(owned_.size())};
  extents.each([&](uint64_t) { header.push_back(0); });
  const size_t bytes = header.size() * sizeof(uint64_t);
  uint64_t sum = 0;
  if (image.bytes() < sizeof(sum) + bytes || std::memcmp(image.data() + sizeof(sum), header.data(), whose * sizeof(uint64_t))) {
    return Status::error("it is no image of these rows, or not of this build's");
  }
  std::memcpy(&sum, image.data(), sizeof(sum));
  std::memcpy(header.data(), image.data() + sizeof(sum), bytes);
  if (checksum(header) != sum) return Status::error("it is damaged: its header's checksum is not the one beside it");
  size_t at = whose;
  extents.each([&](uint64_t& word) { word = header[at++]; });
  const Places places = this->places(extents, header.size());
  if (image.bytes() < places.end) return Status::error("it is cut short");

  index_.adopt(extents.shards, image.data() + places.index);
  for (size_t i = 0; i < owned_.size(); ++i) owned_[i]->rows().adopt(image.data() + places.rows[i], extents.ends[i]);
  sizes_.assign(extents.sizes.begin(), extents.sizes.end());
  image_ = std::move(image);
  return {};
}

}  // namespace larix
