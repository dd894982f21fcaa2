// Rows on disk by number, all of one length. One writer; any number of readers, of rows that are not being written. Knows
// nothing of ids.
//
// A row has a checksum before it, which begins with the row's number. The file has no name once it is open: nothing is left
// of it, however its process ends.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "file.hpp"
#include "pages.hpp"
#include "status.hpp"

namespace larix {

// Page readers that threads borrow, since making one takes a while. Nobody waits: there is always another one.
class PageReaders {
  struct Place {
    std::atomic_flag taken;
    std::unique_ptr<PageReader> reader;
  };

 public:
  class Lease {
   public:
    explicit Lease(const PageReaders& all);
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() {
      if (place_) place_->taken.clear(std::memory_order_release);
    }
    PageReader* operator->() const { return reader_; }

   private:
    Place* place_ = nullptr;
    std::unique_ptr<PageReader> own_;  // if all are lent
    PageReader* reader_;
  };

 private:
  mutable std::array<Place, 32> places_;
};

class RowFile {
 public:
  RowFile(std::string folder, size_t row_bytes);
  // Makes the folder if it is not there.
  Status open();

  // ---- For the writer. Rows may come in any order, also again; those in order of their numbers are written together.

  Status write(uint32_t row, const char* bytes);
  // What has been written can be read from here on.
  Status flush();

  // ---- For readers.

  struct Wanted {
    uint32_t row;
    char* into;
  };
  Status read(std::span<const Wanted> wanted, const PageReaders& readers) const;

  // On disk.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  size_t record_bytes() const { return kHead + row_bytes_; }
  uint32_t checksum(uint32_t row, const char* bytes) const;
  Status ours() const;

  static constexpr size_t kHead = 4;  // CRC32C

  std::string folder_;
  size_t row_bytes_;
  pid_t process_;
  File file_;
  std::atomic<uint64_t> bytes_{0};
  std::vector<char> waiting_;  // records of rows from first_ on
  uint32_t first_ = 0;
};

}  // namespace larix
