// module_set.h - from what a user calls a module to shared objects that can be loaded.
//
// A MODULE is a corpus module's name, source files of one driver joined by +, or a folder NAME.nmr.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fuzz/reproducer.h"
#include "module/variant.h"

namespace nmrfuzz::fuzz {

struct ModuleUnderTest {
  ModuleReference reference;
  std::string name;                                           // short, for messages and files' names
  std::array<std::string, module::kVariants> shared_objects;  // empty where that variant was not asked for

  const std::string& shared_object(module::Variant variant) const {
    return shared_objects[static_cast<std::size_t>(variant)];
  }
};

struct ModuleSet {
  std::vector<ModuleUnderTest> modules;
  std::uint64_t source_hash = 0;  // of all of them
  std::string diagnostics;        // the compiler's warnings

  std::vector<std::string> names() const;  // as the user gave them
  std::string short_name() const;          // all names, joined by +
  std::vector<std::string> images(module::Variant variant) const;
};

// The modules of the reproducer, the first of them replaced by those that the user names, with the options of the
// originals. nullopt, with what is wrong in `error`, if there are too many.
std::optional<std::vector<ModuleReference>> replaced_modules(const Reproducer& reproducer,
                                                             std::span<const std::string> given, std::string& error);

// Compiles what is not compiled yet. Sources that do not exist are looked for in `folder` too. nullopt with what, where
// and what to do in `error` (several lines if the compiler said so).
std::optional<ModuleSet> resolve_modules(std::span<const ModuleReference> references,
                                         std::span<const module::Variant> variants, const std::string& folder,
                                         std::string& error);

}  // namespace nmrfuzz::fuzz
