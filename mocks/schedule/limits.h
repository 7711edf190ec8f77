// limits.h - the sizes of one execution. All memory for them is taken once, before the first execution.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nmrfuzz::schedule {

inline constexpr std::size_t kThreadsMaximum = 1024;      // simulated threads alive at once, the clock included
inline constexpr std::size_t kTimersMaximum = 8192;       // armed at once
inline constexpr std::uint32_t kEarlyTicksMaximum = 16;   // an execution's timers that fire although threads can run
inline constexpr std::uint64_t kStepsPerEarlyTick = 256;  // when those are used up: the steps for one more
inline constexpr std::size_t kDecisionsMaximum = 1U << 20;
inline constexpr std::uint64_t kStepLimitDefault =
    100'000;  // scheduling points before an execution is called a livelock

}  // namespace nmrfuzz::schedule
