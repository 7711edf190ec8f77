// routine.h - the table of kernel routines and module callbacks: name, highest IRQL allowed, whether it can fail.
//
// The rows are in routines.def; a routine's row is all that fault injection, IRQL checks and reports know of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "trace/event.h"

namespace nmrfuzz::kernel {

inline constexpr std::uint8_t kPassiveLevel = 0;
inline constexpr std::uint8_t kApcLevel = 1;
inline constexpr std::uint8_t kDispatchLevel = 2;
inline constexpr std::uint8_t kHighLevel = 15;  // as a maximum: any level

enum class CanFail : std::uint8_t { kNo, kYes };

enum class Routine : trace::RoutineNumber {
  kNone = 0,
#define NMRFUZZ_ROUTINE(name, irql_maximum, can_fail) name,
#include "kernel/routines.def"
#undef NMRFUZZ_ROUTINE
  kCount
};

struct RoutineRow {
  std::string_view name;
  std::uint8_t irql_maximum;
  CanFail can_fail;
};

inline constexpr std::array<RoutineRow, static_cast<std::size_t>(Routine::kCount)> kRoutines = {{
    {"", kHighLevel, CanFail::kNo},
#define NMRFUZZ_ROUTINE(name, irql_maximum, can_fail) {#name, irql_maximum, CanFail::can_fail},
#include "kernel/routines.def"
#undef NMRFUZZ_ROUTINE
}};

inline const RoutineRow& row_of(Routine routine) { return kRoutines[static_cast<std::size_t>(routine)]; }
inline const RoutineRow& row_of(trace::RoutineNumber routine) { return kRoutines[routine]; }

}  // namespace nmrfuzz::kernel
