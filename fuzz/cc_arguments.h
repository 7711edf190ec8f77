// cc_arguments.h - the command line of nmrfuzz-cc: clang's, as far as a compiler that makes modules can take it.
#pragma once

#include <span>
#include <string>
#include <variant>
#include <vector>

namespace nmrfuzz::fuzz {

struct CcArguments {
  bool help = false;
  std::string output;  // -o, or made from the first source
  std::vector<std::string> sources;
  std::vector<std::string> options;  // everything else, for clang
};

struct CcError {
  std::string message;
};

// `arguments`: without the program's name.
std::variant<CcArguments, CcError> parse_cc_arguments(std::span<const std::string> arguments);

extern const char* const kCcHelp;

}  // namespace nmrfuzz::fuzz
