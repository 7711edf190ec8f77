// status.h - the NTSTATUS values that the mocks themselves use, without the macros of the modules' headers.
// Source: the NTSTATUS values page of the Windows protocols documentation, [MS-ERREF].
#pragma once

#include <cstdint>

namespace nmrfuzz::kernel {

using Status = std::int32_t;

inline constexpr Status status_value(std::uint32_t bits) { return static_cast<Status>(bits); }

inline constexpr Status kStatusSuccess = 0;
inline constexpr Status kStatusTimeout = 0x102;
inline constexpr Status kStatusPending = 0x103;
inline constexpr Status kStatusUnsuccessful = status_value(0xC0000001);
inline constexpr Status kStatusNotImplemented = status_value(0xC0000002);
inline constexpr Status kStatusInvalidHandle = status_value(0xC0000008);
inline constexpr Status kStatusInvalidParameter = status_value(0xC000000D);
inline constexpr Status kStatusNoMemory = status_value(0xC0000017);
inline constexpr Status kStatusAccessDenied = status_value(0xC0000022);
inline constexpr Status kStatusObjectTypeMismatch = status_value(0xC0000024);
inline constexpr Status kStatusObjectNameNotFound = status_value(0xC0000034);
inline constexpr Status kStatusObjectNameCollision = status_value(0xC0000035);
inline constexpr Status kStatusInsufficientResources = status_value(0xC000009A);
inline constexpr Status kStatusDeviceNotReady = status_value(0xC00000A3);
inline constexpr Status kStatusNotSupported = status_value(0xC00000BB);
inline constexpr Status kStatusNoInterface = status_value(0xC00002B9);

inline constexpr bool succeeded(Status status) { return status >= 0; }

}  // namespace nmrfuzz::kernel
