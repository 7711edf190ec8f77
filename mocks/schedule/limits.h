// limits.h - the sizes of one execution. All memory for them is taken once, before the first execution.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nmrfuzz::schedule {

inline constexpr std::size_t kThreadsMaximum = 4096;      // simulated threads alive at once, the clock included
inline constexpr std::size_t kTimersMaximum = 8192;       // armed at once
inline constexpr std::uint32_t kEarlyTicksMaximum = 16;   // timers that fire although threads can run, in one phase
inline constexpr std::uint64_t kStepsPerEarlyTick = 256;  // when those are used up: the steps for one more
inline constexpr std::size_t kDecisionsMaximum = 1U << 20;
// Scheduling points before an execution is called a livelock: so many, and once more for every kThreadsPerStepLimit
// threads that were alive at once. With hundreds of threads an execution is long without being stuck.
inline constexpr std::uint64_t kStepLimitDefault = 100'000;
inline constexpr std::uint64_t kThreadsPerStepLimit = 256;
inline constexpr std::uint64_t kStepLimitsMaximum = 8;  // together; their decisions fit into the log

}  // namespace nmrfuzz::schedule
