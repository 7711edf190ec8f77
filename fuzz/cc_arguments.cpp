#include "fuzz/cc_arguments.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

namespace nmrfuzz::fuzz {

const char* const kCcHelp = R"(nmrfuzz-cc - compiles a Windows network module so that nmrfuzz can run it

  nmrfuzz-cc [-o driver.nmr] [clang options] source.c [source.cpp ...]

Makes the folder driver.nmr (default: the first source's name) with every build variant that nmrfuzz uses.
The WDK's headers and the options that a driver needs on Linux are added. -I, -D, -U, -include, -std, -W... and
whatever else clang knows are passed on. Sanitizers and output kinds are not for you to choose.

  nmrfuzz-cc -o echo.nmr -Iinc -DDBG=1 echo.c trace.c
  nmrfuzz hunt echo.nmr

NMRFUZZ_CACHE names the folder that keeps compiled sources. Exit status: 0 made, 2 it could not be made.
)";

namespace {

// Options of clang whose value is the next argument.
constexpr std::array<std::string_view, 18> kWithValue = {
    "-I",      "-D",         "-U",       "-L",        "-l",           "-include", "-imacros", "-isystem",
    "-iquote", "-idirafter", "-iprefix", "-isysroot", "-ivfsoverlay", "-Xclang",  "-mllvm",   "-Xpreprocessor",
    "--param", "-F"};

// Options that would make something else than a module, or clash with our own variants.
constexpr std::array<std::string_view, 14> kRefused = {
    "-c", "-S",      "-E",        "-M", "-MM", "-MD", "-MMD", "-MF", "-shared", "-static", "-fsyntax-only",
    "-x", "-target", "-emit-llvm"};
constexpr std::array<std::string_view, 4> kRefusedPrefixes = {"-fsanitize", "-flto", "--target=", "-fprofile"};

template <std::size_t kSize>
bool contains(const std::array<std::string_view, kSize>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool is_refused(std::string_view argument) {
  return contains(kRefused, argument) || std::any_of(kRefusedPrefixes.begin(), kRefusedPrefixes.end(),
                                                     [&](std::string_view p) { return argument.starts_with(p); });
}

CcError value_missing(const std::string& option) { return {option + ": its value is missing"}; }

}  // namespace

std::variant<CcArguments, CcError> parse_cc_arguments(std::span<const std::string> arguments) {
  CcArguments result;
  bool only_sources = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool is_last = i + 1 == arguments.size();
    if (only_sources || !argument.starts_with('-')) {
      result.sources.push_back(argument);
    } else if (argument == "--") {
      only_sources = true;
    } else if (argument == "--help" || argument == "-h") {
      result.help = true;
    } else if (argument == "-o") {
      if (is_last) {
        return value_missing(argument);
      }
      result.output = arguments[++i];
    } else if (argument.starts_with("-o")) {
      result.output = argument.substr(2);
    } else if (is_refused(argument)) {
      return CcError{argument + ": nmrfuzz-cc makes whole modules and chooses their variants itself; leave it out"};
    } else {
      result.options.push_back(argument);
      if (contains(kWithValue, argument)) {
        if (is_last) {
          return value_missing(argument);
        }
        result.options.push_back(arguments[++i]);
      }
    }
  }
  if (result.sources.empty() && !result.help) {
    return CcError{"no source file given; nmrfuzz-cc --help tells how to call it"};
  }
  if (result.output.empty() && !result.help) {
    result.output = std::filesystem::path(result.sources.front()).stem().string() + ".nmr";
  }
  return result;
}

}  // namespace nmrfuzz::fuzz
