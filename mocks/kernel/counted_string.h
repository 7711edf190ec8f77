// counted_string.h - probing the strings that a module hands to the runtime library.
#pragma once

#include <ntddk.h>

#include <cstddef>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

// Whether `string` (UNICODE_STRING or STRING) and the bytes in use of its buffer may be read; a breach if not.
template <class String>
bool readable(Kernel& kernel, Routine routine, const String* string) {
  return kernel.probe(routine, string, sizeof *string) &&
         (string->Length == 0 || kernel.probe(routine, string->Buffer, string->Length));
}

// Whether `string` and all of its buffer may be written; a breach if not.
template <class String>
bool writable(Kernel& kernel, Routine routine, const String* string) {
  return kernel.probe(routine, string, sizeof *string) &&
         (string->MaximumLength == 0 || kernel.probe(routine, string->Buffer, string->MaximumLength));
}

// Counts the units before the terminator, at most `maximum`, probing each. False after a breach.
template <class Unit>
bool measure(Kernel& kernel, Routine routine, const Unit* text, std::size_t maximum, std::size_t& units) {
  for (units = 0; units < maximum; ++units) {
    if (!kernel.probe(routine, text + units, sizeof *text)) {
      return false;
    }
    if (text[units] == 0) {
      return true;
    }
  }
  return true;
}

// The units in use of a counted string.
inline std::size_t units_of(const UNICODE_STRING& string) { return string.Length / sizeof(WCHAR); }

// Upper case, for ASCII, Latin-1, Greek and Cyrillic letters; other units stay as they are.
WCHAR upper_case(WCHAR unit);

}  // namespace nmrfuzz::kernel
