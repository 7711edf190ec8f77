// lock_fixture.h - for unit tests of locks: threads that contend for one, in many random schedules.
#pragma once

#include <algorithm>

#include "kernel/kernel_fixture.h"

namespace nmrfuzz::kernel {

class LockFixture : public KernelFixture {
 protected:
  static constexpr int kSchedules = 1000;

  // What happened in kSchedules schedules.
  struct Contention {
    int inside_maximum = 0;  // threads between acquire and release at once
    int blocked = 0;         // schedules in which a thread had to wait
    int deadlocks = 0;
    int others = 0;  // schedules with a breach, or that ended neither well nor in a deadlock
  };

  // Three threads, each of which acquires and releases twice. `prepare` makes the lock a new one; `acquire` returns
  // what `release` takes (an IRQL, say).
  template <class Prepare, class Acquire, class Release>
  Contention contend(Prepare prepare, Acquire acquire, Release release) {
    int inside = 0;
    Contention result;
    const auto body = [&] {
      for (int turn = 0; turn < 2; ++turn) {
        const auto held = acquire();
        result.inside_maximum = std::max(result.inside_maximum, ++inside);
        kernel.point(Routine::kNone);
        --inside;
        release(held);
      }
    };
    for (int seed = 0; seed < kSchedules; ++seed) {
      begin(static_cast<std::uint64_t>(seed));
      prepare();
      inside = 0;
      start(body);
      start(body);
      start(body);
      count(finish(), result);
    }
    return result;
  }

  // One thread inside at a time, some had to wait, nothing went wrong.
  static void expect_exclusive(const Contention& seen) {
    EXPECT_EQ(seen.inside_maximum, 1);
    EXPECT_GT(seen.blocked, 0);
    EXPECT_EQ(seen.deadlocks, 0);
    EXPECT_EQ(seen.others, 0);
  }
  // Some schedules end in a deadlock, some do not, nothing else goes wrong.
  static void expect_some_deadlocks(const Contention& seen) {
    EXPECT_GT(seen.deadlocks, 0);
    EXPECT_LT(seen.deadlocks, kSchedules);
    EXPECT_EQ(seen.others, 0);
  }

  // Two threads with a body each.
  template <class Prepare, class First, class Second>
  Contention pair(Prepare prepare, const First& first, const Second& second) {
    Contention result;
    for (int seed = 0; seed < kSchedules; ++seed) {
      begin(static_cast<std::uint64_t>(seed));
      prepare();
      start(first);
      start(second);
      count(finish(), result);
    }
    return result;
  }

 private:
  void count(schedule::EndReason reason, Contention& result) {
    result.blocked += events(trace::EventKind::kBlock).empty() ? 0 : 1;
    result.deadlocks += reason == schedule::EndReason::kDeadlock ? 1 : 0;
    const bool bad = reason != schedule::EndReason::kAllEnded && reason != schedule::EndReason::kDeadlock;
    result.others += bad || !breaches().empty() ? 1 : 0;
  }
};

}  // namespace nmrfuzz::kernel
