// compile_flags.h - the options that a driver written for the WDK and MSVC needs under clang on Linux.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "module/variant.h"

namespace nmrfuzz::module {

using Arguments = std::vector<std::string>;

enum class Language : std::uint8_t { kNone, kC, kCxx };

// By the extension; kNone if it is neither C nor C++.
Language language_of(const std::string& source);

// From a source of that language to bitcode in which loads, stores and blocks are reported.
Arguments bitcode_flags(Language language);
// From that bitcode to an object file of a variant: adds its sanitizer.
Arguments object_flags(Variant variant);
// From object files to a shared object. Whatever it does not define, the program that loads it must.
Arguments link_flags();

}  // namespace nmrfuzz::module
