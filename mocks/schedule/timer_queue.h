// timer_queue.h - what is due when, in virtual time: a binary heap with removal.
//
// Timers that are due at the same time fire in the order in which they were armed. No allocation after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "schedule/limits.h"

namespace nmrfuzz::schedule {

// Names an armed timer; 0 names none. Stale identifiers are recognised.
using TimerId = std::uint64_t;

// Runs on the clock's behalf, in no thread's context: must not block or yield.
using TimerRoutine = void (*)(void* context, std::uint64_t argument);

class TimerQueue {
 public:
  struct Timer {
    std::uint64_t due = 0;
    std::uint64_t sequence = 0;
    TimerRoutine routine = nullptr;
    void* context = nullptr;
    std::uint64_t argument = 0;
    std::uint32_t position = 0;  // in heap_
    std::uint32_t generation = 0;
  };

  TimerQueue();
  void reset();
  bool empty() const { return heap_.empty(); }
  bool full() const { return free_.empty(); }
  // REQUIRES: !full().
  TimerId arm(std::uint64_t due, TimerRoutine routine, void* context, std::uint64_t argument);
  // False: it has fired or was cancelled before.
  bool cancel(TimerId id);
  // Takes the timer that is due first. REQUIRES: !empty().
  Timer take_first();

 private:
  bool before(std::uint32_t left, std::uint32_t right) const;
  void place(std::uint32_t position, std::uint32_t slot);
  void sift_up(std::uint32_t position);
  void sift_down(std::uint32_t position);
  void remove_at(std::uint32_t position);

  std::vector<Timer> slots_;
  std::vector<std::uint32_t> heap_;  // slot indices
  std::vector<std::uint32_t> free_;
  std::uint64_t sequence_ = 0;
};

}  // namespace nmrfuzz::schedule
