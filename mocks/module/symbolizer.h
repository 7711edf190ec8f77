// symbolizer.h - functions, files and lines of module addresses, for reports: llvm-symbolizer kept running beside us.
//
// Thread safety: none. If the program cannot be started or dies, nothing is known from then on and nothing fails.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "module/image.h"

namespace nmrfuzz::module {

struct SourceFrame {
  std::string function;  // demangled; empty if unknown
  std::string file;      // as it was given to the compiler; empty if unknown
  unsigned line = 0;     // 0 if unknown
};

class Symbolizer {
 public:
  // `program` is started at the first question.
  explicit Symbolizer(std::string program = default_program()) : program_(std::move(program)) {}
  ~Symbolizer();
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  // Where the instruction at `address` comes from: one frame, or several where functions were inlined into one another,
  // the innermost first. Empty if `address` is not in the image's code or nothing is known.
  std::vector<SourceFrame> describe(const Image& image, std::uintptr_t address);
  // As describe(), for a return address: the call before it.
  std::vector<SourceFrame> describe_call(const Image& image, std::uintptr_t return_address) {
    return describe(image, return_address - 1);
  }

  // The variable of the module that `address` is in, with the distance from its start: "Statistics+8". Empty if it is
  // in none, or nothing is known.
  std::string describe_data(const Image& image, std::uintptr_t address);

 private:
  static std::string default_program();
  std::string answer_about(const char* what, const Image& image, std::uintptr_t address);
  bool start();
  void stop();
  bool ask(std::string_view question, std::string& answer);

  std::string program_;
  int socket_ = -1;
  int process_ = 0;
  bool failed_ = false;
};

}  // namespace nmrfuzz::module
