// string_conversion.cpp - strings to and from ANSI, integers and GUIDs; the version and fresh GUIDs.
//
// ANSI is Latin-1. Buffers that a conversion allocates are paged pool of the module that called; RtlFree*String frees
// them. Scheduling points are those of the pool.
// Sources: documentation pages "RtlAnsiStringToUnicodeString", "RtlUnicodeStringToAnsiString", "RtlFreeUnicodeString",
// "RtlIntegerToUnicodeString", "RtlUnicodeStringToInteger", "RtlStringFromGUID", "RtlGUIDFromString", "RtlGetVersion",
// "ExUuidCreate".
#include <ntddk.h>

#include <array>
#include <cstring>
#include <limits>

#include "kernel/counted_string.h"
#include "kernel/pool_routines.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint32_t kStringTag = 0x67727453;  // "Strg"

// Gives `string`, empty, a buffer of `bytes` from the pool; false if it fails.
template <class String>
bool allocate_buffer(Kernel& kernel, Routine routine, String& string, std::size_t bytes) {
  PoolRequest request;
  request.type = PoolType::kPaged;
  request.bytes = bytes;
  request.tag = kStringTag;
  void* const buffer = allocate_block(kernel, routine, request);
  // The allocation was a scheduling point: another thread may have freed the string.
  if (buffer == nullptr || !kernel.probe(routine, &string, sizeof string)) {
    return false;
  }
  string.Length = 0;
  string.MaximumLength = static_cast<USHORT>(bytes);
  string.Buffer = static_cast<decltype(string.Buffer)>(buffer);
  return true;
}

template <class Unit>
Unit converted(WCHAR unit) {
  constexpr WCHAR kHighest = 0xff;
  return sizeof(Unit) == 1 && unit > kHighest ? static_cast<Unit>('?') : static_cast<Unit>(unit);
}

template <class Destination, class Source>
NTSTATUS convert(Routine routine, Destination* destination, const Source* source, bool allocate) {
  using Unit = std::remove_pointer_t<decltype(destination->Buffer)>;
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  if (!kernel.probe(routine, destination, sizeof *destination) || !readable(kernel, routine, source)) {
    return kStatusInvalidParameter;
  }
  const std::size_t units = source->Length / sizeof *source->Buffer;
  const std::size_t bytes = (units + 1) * sizeof(Unit);
  NTSTATUS status = kStatusSuccess;
  if (bytes > std::numeric_limits<USHORT>::max()) {
    status = STATUS_INVALID_PARAMETER_2;
  } else if (allocate) {
    status = allocate_buffer(kernel, routine, *destination, bytes) ? kStatusSuccess : kStatusNoMemory;
  } else if (destination->MaximumLength < bytes) {
    status = STATUS_BUFFER_OVERFLOW;
  }
  // An allocation was a scheduling point: another thread may have freed the source.
  if (status == kStatusSuccess && (!writable(kernel, routine, destination) || !readable(kernel, routine, source))) {
    status = kStatusInvalidParameter;
  }
  if (status == kStatusSuccess) {
    for (std::size_t i = 0; i < units; ++i) {
      const auto unit =
          static_cast<std::make_unsigned_t<std::remove_pointer_t<decltype(source->Buffer)>>>(source->Buffer[i]);
      destination->Buffer[i] = converted<Unit>(static_cast<WCHAR>(unit));
    }
    destination->Buffer[units] = 0;
    destination->Length = static_cast<USHORT>(units * sizeof(Unit));
  }
  kernel.called(routine, 0, status, units);
  return status;
}

template <class String>
void free_string(Routine routine, String* string) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  if (!kernel.probe(routine, string, sizeof *string)) {
    return;
  }
  if (string->Buffer != nullptr) {
    void* const buffer = string->Buffer;
    *string = {};
    free_block(kernel, routine, buffer, 0);
  }
}

constexpr char kDigits[] = "0123456789ABCDEF";

int digit_value(WCHAR unit) {
  const WCHAR upper = upper_case(unit);
  for (int value = 0; value < 16; ++value) {
    if (upper == static_cast<WCHAR>(kDigits[value])) {
      return value;
    }
  }
  return 16;
}

bool is_base(ULONG base) { return base == 2 || base == 8 || base == 10 || base == 16; }

// Reads "0x", "0o", "0b" at `at`; the base it stands for, 10 for none.
ULONG take_base(const UNICODE_STRING& string, std::size_t& at) {
  if (at + 1 < units_of(string) && string.Buffer[at] == '0') {
    const WCHAR letter = string.Buffer[at + 1];
    const ULONG base = letter == 'x' ? 16U : letter == 'o' ? 8U : letter == 'b' ? 2U : 0U;
    if (base != 0) {
      at += 2;
      return base;
    }
  }
  return 10;
}

ULONG parse_integer(const UNICODE_STRING& string, ULONG base) {
  const std::size_t units = units_of(string);
  std::size_t at = 0;
  while (at < units && string.Buffer[at] <= ' ') {
    ++at;
  }
  bool negative = false;
  if (at < units && (string.Buffer[at] == '-' || string.Buffer[at] == '+')) {
    negative = string.Buffer[at++] == '-';
  }
  if (base == 0) {
    base = take_base(string, at);
  }
  ULONG value = 0;
  for (; at < units && static_cast<ULONG>(digit_value(string.Buffer[at])) < base; ++at) {
    value = value * base + static_cast<ULONG>(digit_value(string.Buffer[at]));
  }
  return negative ? 0U - value : value;
}

// {XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}: for each unit the index of its byte in the GUID as it lies in memory, or
// the mark that stands there. Two digits a byte, the high one first.
constexpr std::size_t kGuidUnits = 38;
constexpr std::array<int, 16> kByteOrder = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

char guid_mark(std::size_t at) {
  switch (at) {
    case 0:
      return '{';
    case 9:
    case 14:
    case 19:
    case 24:
      return '-';
    case 37:
      return '}';
    default:
      return 0;
  }
}

void print_guid(const GUID& guid, WCHAR* text) {
  std::array<UCHAR, sizeof(GUID)> bytes{};
  std::memcpy(bytes.data(), &guid, sizeof guid);
  std::size_t digit = 0;
  for (std::size_t at = 0; at < kGuidUnits; ++at) {
    const char mark = guid_mark(at);
    if (mark != 0) {
      text[at] = static_cast<WCHAR>(mark);
      continue;
    }
    const UCHAR byte = bytes[static_cast<std::size_t>(kByteOrder[digit / 2])];
    text[at] = static_cast<WCHAR>(kDigits[digit % 2 == 0 ? byte >> 4 : byte & 0xf]);
    ++digit;
  }
}

bool parse_guid(const UNICODE_STRING& string, GUID& guid) {
  if (units_of(string) != kGuidUnits) {
    return false;
  }
  std::array<UCHAR, sizeof(GUID)> bytes{};
  std::size_t digit = 0;
  for (std::size_t at = 0; at < kGuidUnits; ++at) {
    const char mark = guid_mark(at);
    const int value = digit_value(string.Buffer[at]);
    if (mark != 0 ? string.Buffer[at] != static_cast<WCHAR>(mark) : value == 16) {
      return false;
    }
    if (mark == 0) {
      UCHAR& byte = bytes[static_cast<std::size_t>(kByteOrder[digit++ / 2])];
      byte = static_cast<UCHAR>(byte << 4 | value);
    }
  }
  std::memcpy(&guid, bytes.data(), sizeof guid);
  return true;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

NTSTATUS RtlAnsiStringToUnicodeString(PUNICODE_STRING DestinationString, PCANSI_STRING SourceString,
                                      BOOLEAN AllocateDestinationString) {
  return convert(Routine::RtlAnsiStringToUnicodeString, DestinationString, SourceString,
                 AllocateDestinationString != FALSE);
}

NTSTATUS RtlUnicodeStringToAnsiString(PANSI_STRING DestinationString, PCUNICODE_STRING SourceString,
                                      BOOLEAN AllocateDestinationString) {
  return convert(Routine::RtlUnicodeStringToAnsiString, DestinationString, SourceString,
                 AllocateDestinationString != FALSE);
}

void RtlFreeUnicodeString(PUNICODE_STRING UnicodeString) { free_string(Routine::RtlFreeUnicodeString, UnicodeString); }

void RtlFreeAnsiString(PANSI_STRING AnsiString) { free_string(Routine::RtlFreeAnsiString, AnsiString); }

NTSTATUS RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String) {
  constexpr Routine kRoutine = Routine::RtlIntegerToUnicodeString;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!writable(kernel, kRoutine, String)) {
    return kStatusInvalidParameter;
  }
  const ULONG base = Base == 0 ? 10 : Base;
  std::array<WCHAR, std::numeric_limits<ULONG>::digits> digits{};
  std::size_t units = 0;
  NTSTATUS status = kStatusInvalidParameter;
  if (is_base(base)) {
    do {
      digits[units++] = static_cast<WCHAR>(kDigits[Value % base]);
      Value /= base;
    } while (Value != 0);
    status = units * sizeof(WCHAR) <= String->MaximumLength ? kStatusSuccess : STATUS_BUFFER_OVERFLOW;
  }
  if (status == kStatusSuccess) {
    for (std::size_t i = 0; i < units; ++i) {
      String->Buffer[i] = digits[units - 1 - i];
    }
    String->Length = static_cast<USHORT>(units * sizeof(WCHAR));
    if (String->Length + sizeof(WCHAR) <= String->MaximumLength) {
      String->Buffer[units] = 0;
    }
  }
  kernel.called(kRoutine, 0, status, units);
  return status;
}

NTSTATUS RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value) {
  constexpr Routine kRoutine = Routine::RtlUnicodeStringToInteger;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!readable(kernel, kRoutine, String) || !kernel.probe(kRoutine, Value, sizeof *Value)) {
    return kStatusInvalidParameter;
  }
  const bool valid = Base == 0 || is_base(Base);
  if (valid) {
    *Value = parse_integer(*String, Base);
  }
  const NTSTATUS status = valid ? kStatusSuccess : kStatusInvalidParameter;
  kernel.called(kRoutine, 0, status);
  return status;
}

NTSTATUS RtlStringFromGUID(REFGUID Guid, PUNICODE_STRING GuidString) {
  constexpr Routine kRoutine = Routine::RtlStringFromGUID;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!kernel.probe(kRoutine, &Guid, sizeof(GUID)) || !kernel.probe(kRoutine, GuidString, sizeof *GuidString)) {
    return kStatusInvalidParameter;
  }
  const GUID guid = Guid;
  NTSTATUS status = kStatusNoMemory;
  if (allocate_buffer(kernel, kRoutine, *GuidString, (kGuidUnits + 1) * sizeof(WCHAR))) {
    print_guid(guid, GuidString->Buffer);
    GuidString->Buffer[kGuidUnits] = 0;
    GuidString->Length = kGuidUnits * sizeof(WCHAR);
    status = kStatusSuccess;
  }
  kernel.called(kRoutine, 0, status);
  return status;
}

NTSTATUS RtlGUIDFromString(PCUNICODE_STRING GuidString, GUID* Guid) {
  constexpr Routine kRoutine = Routine::RtlGUIDFromString;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!readable(kernel, kRoutine, GuidString) || !kernel.probe(kRoutine, Guid, sizeof *Guid)) {
    return kStatusInvalidParameter;
  }
  const NTSTATUS status = parse_guid(*GuidString, *Guid) ? kStatusSuccess : kStatusInvalidParameter;
  kernel.called(kRoutine, 0, status);
  return status;
}

NTSTATUS RtlGetVersion(PRTL_OSVERSIONINFOW lpVersionInformation) {
  constexpr Routine kRoutine = Routine::RtlGetVersion;
  constexpr ULONG kBuild = 20348;  // Windows Server 2022
  constexpr UCHAR kServer = 3;
  constexpr ULONG kPlatformNt = 2;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!kernel.probe(kRoutine, lpVersionInformation, sizeof(ULONG))) {
    return kStatusInvalidParameter;
  }
  const ULONG size = lpVersionInformation->dwOSVersionInfoSize;
  if (size != sizeof(RTL_OSVERSIONINFOW) && size != sizeof(RTL_OSVERSIONINFOEXW)) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, 0, size);
    return kStatusInvalidParameter;
  }
  if (!kernel.probe(kRoutine, lpVersionInformation, size)) {
    return kStatusInvalidParameter;
  }
  std::memset(static_cast<void*>(lpVersionInformation), 0, size);
  lpVersionInformation->dwOSVersionInfoSize = size;
  lpVersionInformation->dwMajorVersion = 10;
  lpVersionInformation->dwBuildNumber = kBuild;
  lpVersionInformation->dwPlatformId = kPlatformNt;
  if (size == sizeof(RTL_OSVERSIONINFOEXW)) {
    reinterpret_cast<PRTL_OSVERSIONINFOEXW>(lpVersionInformation)->wProductType = kServer;
  }
  kernel.called(kRoutine);
  return kStatusSuccess;
}

// No two calls of an execution give the same GUID: each begins with the number of its event.
NTSTATUS ExUuidCreate(UUID* Uuid) {
  constexpr Routine kRoutine = Routine::ExUuidCreate;
  constexpr USHORT kRandomVersion = 0x4000;
  constexpr UCHAR kVariant = 0x80;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!kernel.probe(kRoutine, Uuid, sizeof *Uuid)) {
    return kStatusInvalidParameter;
  }
  const std::uint64_t event = kernel.scheduler().recorder().size();
  *Uuid = {};
  Uuid->Data1 = static_cast<ULONG>(event);
  Uuid->Data2 = static_cast<USHORT>(event >> 32);
  Uuid->Data3 = kRandomVersion;
  Uuid->Data4[0] = kVariant;
  kernel.called(kRoutine);
  return kStatusSuccess;
}

}  // extern "C"
