// shared_state.h - the memory that supervisor and worker share: what is left of a worker, whatever kills it.
//
// The worker writes, the supervisor reads (and sets stop_before). Plain members are read only when the worker is dead
// or has said by a message that they are complete.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include "fuzz/death.h"
#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::fuzz {

enum class Phase : std::uint32_t { kLoading, kProbing, kRunning, kDescribing, kDone };

struct SharedState {
  std::uint64_t bytes = sizeof(SharedState);  // differs if the two programs are not of one build
  std::atomic<Phase> phase{Phase::kLoading};
  std::atomic<std::uint64_t> schedule{0};  // under way
  std::atomic<std::uint64_t> schedules_done{0};
  std::atomic<std::uint64_t> decisions_done{0};
  std::atomic<std::uint64_t> registrations{0};  // seen so far
  std::atomic<std::uint64_t> cut_short{0};      // schedules that did not fit into our tables
  // Schedules from this number on are not wanted any more.
  std::atomic<std::uint64_t> stop_before{std::numeric_limits<std::uint64_t>::max()};
  Death death;
  schedule::DecisionLog replay;     // what to replay
  schedule::DecisionLog decisions;  // of the execution under way
  trace::EventRing ring;
};

}  // namespace nmrfuzz::fuzz
