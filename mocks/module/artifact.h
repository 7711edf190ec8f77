// artifact.h - a compiled module as a folder NAME.nmr, what nmrfuzz-cc makes: a shared object a variant, and
// module.json.
//
// module.json: {"format":1,"name":"driver","sources":[...],"options":[...],"source_hash":"16 hex digits",
//               "variants":{"plain":{"file":"plain.so","bytes":N,"hash":"32 hex digits"},...}}
// Sizes and hashes are checked when the folder is opened, so a damaged copy is told at once.
// Thread safety: functions may be called at the same time; a folder that is written anew is replaced in one step.
#pragma once

#include <array>
#include <string>
#include <variant>
#include <vector>

#include "module/compile.h"
#include "module/variant.h"

namespace nmrfuzz::module {

struct Artifact {
  std::string name;                  // the folder's name when it was made, without ".nmr"
  std::vector<std::string> sources;  // as they were given to the compiler
  std::vector<std::string> options;
  std::string source_hash;                            // see Build
  std::array<std::string, kVariants> shared_objects;  // paths; empty for a variant that it does not have

  const std::string& shared_object(Variant variant) const { return shared_objects[static_cast<std::size_t>(variant)]; }
};

// Why a folder cannot be used or written: what, where, what to do.
struct ArtifactError {
  std::string message;
};

// Reads and checks the folder at `path`.
std::variant<Artifact, ArtifactError> open_artifact(const std::string& path);

// Makes the folder at `path`, or replaces the one that is there. Anything else in that place is left alone and an
// error.
std::variant<Artifact, ArtifactError> write_artifact(const std::string& path, const BuildRequest& request,
                                                     const Build& build);

}  // namespace nmrfuzz::module
