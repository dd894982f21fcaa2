// How the core says that something went wrong: one sentence. Only the binding raises.
#pragma once

#include <string>
#include <system_error>
#include <utility>

namespace larix {

class [[nodiscard]] Status {
 public:
  Status() = default;

  static Status error(std::string sentence) {
    Status status;
    status.sentence_ = std::move(sentence);
    return status;
  }

  // What the system refused: ``doing`` as in "write", ``code`` an errno.
  static Status system(const std::string& path, const char* doing, int code) {
    return error(path + ": cannot " + doing + ": " + std::generic_category().message(code));
  }

  bool ok() const { return sentence_.empty(); }
  const std::string& sentence() const { return sentence_; }

 private:
  std::string sentence_;
};

}  // namespace larix
