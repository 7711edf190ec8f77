// shared_holds.h - which locks a simulated thread holds for shared access, and how often each.
//
// A lock's own record counts its readers; only this says whether a given thread is one of them. A thread that holds
// more than kTracked at once is no longer checked precisely: it is given the benefit of the doubt.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "trace/event.h"

namespace nmrfuzz::kernel {

class SharedHolds {
 public:
  void add(trace::ObjectNumber lock) {
    if (count_ < kTracked) {
      locks_[count_++] = lock;
    } else {
      ++untracked_;
    }
  }
  // Forgets one hold. Returns whether there was one.
  bool remove(trace::ObjectNumber lock) {
    for (std::size_t i = count_; i-- > 0;) {
      if (locks_[i] == lock) {
        locks_[i] = locks_[--count_];
        return true;
      }
    }
    if (untracked_ == 0) {
      return false;
    }
    --untracked_;
    return true;
  }
  bool contains(trace::ObjectNumber lock) const {
    for (std::size_t i = 0; i < count_; ++i) {
      if (locks_[i] == lock) {
        return true;
      }
    }
    return false;
  }

 private:
  static constexpr std::size_t kTracked = 15;
  std::array<trace::ObjectNumber, kTracked> locks_{};
  std::uint16_t count_ = 0;
  std::uint16_t untracked_ = 0;
};

}  // namespace nmrfuzz::kernel
