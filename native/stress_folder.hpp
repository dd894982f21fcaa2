// A folder for a stress program, gone when it ends.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace larix::stress {

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / "larix-stress-XXXXXX") {
    if (!mkdtemp(path_.data())) std::abort();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace larix::stress
