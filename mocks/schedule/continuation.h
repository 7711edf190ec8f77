// continuation.h - who goes on where a decision string has ended: a fair rest for any execution.
//
// The running thread goes on until it blocks, yields, or has gone on kPatience times; then comes the next by number,
// the clock in its turn. Without the patience a thread that spins on a word would starve the one that sets it, and a
// module that is right would be called livelocked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class Continuation {
 public:
  static constexpr std::uint32_t kPatience = 128;

  void reset() {
    last_ = kNobody;
    left_ = 0;
  }

  ThreadNumber pick(const Choices& choices) {
    if (last_ != kClock && choices.current != last_) {  // it got its turn from somebody else
      last_ = choices.current;
      left_ = kPatience;
    }
    const auto& runnable = choices.runnable;
    if (last_ != kClock && left_ > 0 && std::find(runnable.begin(), runnable.end(), last_) != runnable.end()) {
      --left_;
      return last_;
    }
    last_ = after(runnable, last_);
    left_ = kPatience;
    return last_;
  }

  void yield(ThreadNumber thread) {
    if (thread != kClock) {
      last_ = thread;
      left_ = 0;
    }
  }

 private:
  static constexpr ThreadNumber kNobody = 0xffff;

  // The lowest number above `thread`, or the lowest at all.
  static ThreadNumber after(std::span<const ThreadNumber> runnable, ThreadNumber thread) {
    ThreadNumber lowest = kNobody;
    ThreadNumber next = kNobody;
    for (const ThreadNumber candidate : runnable) {
      lowest = std::min(lowest, candidate);
      if (candidate > thread) {
        next = std::min(next, candidate);
      }
    }
    return next != kNobody ? next : lowest;
  }

  ThreadNumber last_ = kNobody;  // who had its turn last
  std::uint32_t left_ = 0;       // how often it may go on
};

}  // namespace nmrfuzz::schedule
