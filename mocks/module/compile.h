// compile.h - makes the shared objects of a module under test from its C and C++ sources.
//
// Each source is compiled once, to bitcode in which every access of the module to memory calls us first; each variant
// then adds its sanitizer to that same bitcode. So all variants do the same accesses in the same order, and a
// reproducer means the same in each. Results are cached by content (cache.h); a build of unchanged sources reads the
// files and compares. Thread safety: build() may be called from several threads and processes at the same time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "module/cache.h"
#include "module/variant.h"

namespace nmrfuzz::module {

// The compiler and the WDK's headers. The defaults are those that this program was built with.
struct Toolchain {
  Toolchain();
  std::string clang;
  std::string headers;  // folder
};

struct BuildRequest {
  std::vector<std::string> sources;  // .c, .cc, .cpp, .cxx; as the user wrote them, relative to the working folder
  std::vector<std::string> options;  // passed to clang after ours
  std::vector<Variant> variants;
  std::string cache = default_cache_folder();
  Toolchain toolchain;
};

struct Build {
  std::array<std::string, kVariants> shared_objects;  // paths in the cache; empty for a variant not asked for
  std::string source_hash;  // 16 hexadecimal digits: contents of the sources and of their own headers, without paths
  std::string diagnostics;  // the compiler's warnings
  bool compiled = false;    // false: all of it was in the cache

  const std::string& shared_object(Variant variant) const { return shared_objects[static_cast<std::size_t>(variant)]; }
};

enum class BuildFailureKind : std::uint8_t {
  kNoSource,      // missing, unreadable or of an unknown kind
  kCompileError,  // `message` is what compiler or linker said, verbatim
  kNoTool,        // the compiler cannot be run
  kNoCache,       // the cache folder cannot be written
  kSourcesChange  // sources changed again and again while they were compiled
};

struct BuildFailure {
  BuildFailureKind kind;
  std::string message;  // what, where, what to do; may have several lines, ends without a newline
};

std::variant<Build, BuildFailure> build(const BuildRequest& request);

}  // namespace nmrfuzz::module
