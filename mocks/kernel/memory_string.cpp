// memory_string.cpp - counted strings: initialise, copy, compare, append. (Memory routines are the C library's.)
//
// No scheduling points: no other thread can tell when a string was looked at.
// Sources: documentation pages "RtlInitUnicodeString", "RtlCopyUnicodeString", "RtlCompareUnicodeString",
// "RtlPrefixUnicodeString", "RtlUpcaseUnicodeChar", "RtlAppendUnicodeToString".
#include <ntddk.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernel/counted_string.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {

WCHAR upper_case(WCHAR unit) {
  struct Range {
    WCHAR first;
    WCHAR last;
    WCHAR distance;
  };
  constexpr Range kRanges[] = {{'a', 'z', 0x20},     {0xe0, 0xf6, 0x20},   {0xf8, 0xfe, 0x20},  {0x3b1, 0x3c1, 0x20},
                               {0x3c3, 0x3cb, 0x20}, {0x430, 0x44f, 0x20}, {0x450, 0x45f, 0x50}};
  for (const Range& range : kRanges) {
    if (unit >= range.first && unit <= range.last) {
      return static_cast<WCHAR>(unit - range.distance);
    }
  }
  return unit;
}

namespace {

// `String` as `Unit` units with a terminator behind Length, both counted in bytes.
template <class String, class Unit>
void initialize(Routine routine, String* destination, const Unit* source) {
  // The longest string whose length and terminator fit into a USHORT.
  constexpr std::size_t kUnitsMaximum = std::numeric_limits<USHORT>::max() / sizeof(Unit) - 1;
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  std::size_t units = 0;
  if (!kernel.probe(routine, destination, sizeof *destination) ||
      (source != nullptr && !measure(kernel, routine, source, kUnitsMaximum, units))) {
    return;
  }
  destination->Length = static_cast<USHORT>(units * sizeof(Unit));
  destination->MaximumLength = source != nullptr ? static_cast<USHORT>((units + 1) * sizeof(Unit)) : 0;
  destination->Buffer = const_cast<Unit*>(source);
  kernel.called(routine, 0, 0, units);
}

WCHAR folded(WCHAR unit, bool fold) { return fold ? upper_case(unit) : unit; }

// The number of units that are equal from the start.
std::size_t common_units(const UNICODE_STRING& a, const UNICODE_STRING& b, bool fold) {
  const std::size_t units = std::min(units_of(a), units_of(b));
  std::size_t i = 0;
  while (i < units && folded(a.Buffer[i], fold) == folded(b.Buffer[i], fold)) {
    ++i;
  }
  return i;
}

LONG compare(const UNICODE_STRING& a, const UNICODE_STRING& b, bool fold) {
  const std::size_t common = common_units(a, b, fold);
  if (common == units_of(a) || common == units_of(b)) {
    return static_cast<LONG>(a.Length) - static_cast<LONG>(b.Length);
  }
  return static_cast<LONG>(folded(a.Buffer[common], fold)) - static_cast<LONG>(folded(b.Buffer[common], fold));
}

// Whether two strings may be compared, at an IRQL that allows it.
bool comparable(Kernel& kernel, Routine routine, PCUNICODE_STRING a, PCUNICODE_STRING b) {
  kernel.check_irql(routine);
  return readable(kernel, routine, a) && readable(kernel, routine, b);
}

void terminate_if_room(UNICODE_STRING& string) {
  if (string.Length + sizeof(WCHAR) <= string.MaximumLength) {
    string.Buffer[units_of(string)] = 0;
  }
}

// REQUIRES: `destination` is writable, `bytes` at `source` readable.
NTSTATUS append(Kernel& kernel, Routine routine, UNICODE_STRING& destination, PCWSTR source, std::size_t bytes) {
  const bool fits = destination.Length + bytes <= destination.MaximumLength;
  if (fits && bytes != 0) {
    std::memmove(destination.Buffer + units_of(destination), source, bytes);
    destination.Length = static_cast<USHORT>(destination.Length + bytes);
    terminate_if_room(destination);
  }
  const NTSTATUS status = fits ? kStatusSuccess : STATUS_BUFFER_TOO_SMALL;
  kernel.called(routine, 0, status, bytes);
  return status;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString) {
  initialize(Routine::RtlInitUnicodeString, DestinationString, SourceString);
}

void RtlInitAnsiString(PANSI_STRING DestinationString, PCSZ SourceString) {
  initialize(Routine::RtlInitAnsiString, DestinationString, SourceString);
}

void RtlInitString(PSTRING DestinationString, PCSZ SourceString) {
  initialize(Routine::RtlInitString, DestinationString, SourceString);
}

void RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString) {
  constexpr Routine kRoutine = Routine::RtlCopyUnicodeString;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!writable(kernel, kRoutine, DestinationString) ||
      (SourceString != nullptr && !readable(kernel, kRoutine, SourceString))) {
    return;
  }
  USHORT bytes = 0;
  if (SourceString != nullptr) {
    bytes = std::min(SourceString->Length, DestinationString->MaximumLength);
    if (bytes != 0) {
      std::memmove(DestinationString->Buffer, SourceString->Buffer, bytes);
    }
  }
  DestinationString->Length = bytes;
  if (SourceString != nullptr) {
    terminate_if_room(*DestinationString);
  }
  kernel.called(kRoutine, 0, 0, bytes);
}

LONG RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive) {
  constexpr Routine kRoutine = Routine::RtlCompareUnicodeString;
  Kernel& kernel = current_kernel();
  if (!comparable(kernel, kRoutine, String1, String2)) {
    return 0;
  }
  const LONG difference = compare(*String1, *String2, CaseInSensitive != FALSE);
  kernel.called(kRoutine, 0, difference);
  return difference;
}

BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive) {
  constexpr Routine kRoutine = Routine::RtlEqualUnicodeString;
  Kernel& kernel = current_kernel();
  if (!comparable(kernel, kRoutine, String1, String2)) {
    return FALSE;
  }
  const bool equal = compare(*String1, *String2, CaseInSensitive != FALSE) == 0;
  kernel.called(kRoutine, 0, equal ? 1 : 0);
  return equal ? TRUE : FALSE;
}

BOOLEAN RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive) {
  constexpr Routine kRoutine = Routine::RtlPrefixUnicodeString;
  Kernel& kernel = current_kernel();
  if (!comparable(kernel, kRoutine, String1, String2)) {
    return FALSE;
  }
  const bool is_prefix = common_units(*String1, *String2, CaseInSensitive != FALSE) == units_of(*String1);
  kernel.called(kRoutine, 0, is_prefix ? 1 : 0);
  return is_prefix ? TRUE : FALSE;
}

WCHAR RtlUpcaseUnicodeChar(WCHAR SourceCharacter) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(Routine::RtlUpcaseUnicodeChar);
  kernel.called(Routine::RtlUpcaseUnicodeChar, 0, 0, SourceCharacter);
  return upper_case(SourceCharacter);
}

NTSTATUS RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source) {
  constexpr Routine kRoutine = Routine::RtlAppendUnicodeToString;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  std::size_t units = 0;
  if (!writable(kernel, kRoutine, Destination) ||
      (Source != nullptr && !measure(kernel, kRoutine, Source, UNICODE_STRING_MAX_CHARS, units))) {
    return kStatusInvalidParameter;
  }
  return append(kernel, kRoutine, *Destination, Source, units * sizeof(WCHAR));
}

NTSTATUS RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source) {
  constexpr Routine kRoutine = Routine::RtlAppendUnicodeStringToString;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!writable(kernel, kRoutine, Destination) || !readable(kernel, kRoutine, Source)) {
    return kStatusInvalidParameter;
  }
  return append(kernel, kRoutine, *Destination, Source->Buffer, Source->Length);
}

}  // extern "C"
