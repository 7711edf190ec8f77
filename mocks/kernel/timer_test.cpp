#include <ntddk.h>

#include <functional>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kSeeds = 200;
constexpr LONGLONG kMillisecond = 10'000;

LARGE_INTEGER after(LONGLONG milliseconds) {
  LARGE_INTEGER time;
  time.QuadPart = -milliseconds * kMillisecond;
  return time;
}

class TimerTest : public KernelFixture {
 protected:
  std::function<void()> routine_ = [] {};
  KTIMER timer_{};
  KDPC dpc_{};

  static void call(PKDPC, PVOID context, PVOID, PVOID) { static_cast<TimerTest*>(context)->routine_(); }
  void initialise(TIMER_TYPE type = NotificationTimer) {
    KeInitializeTimerEx(&timer_, type);
    KeInitializeDpc(&dpc_, &call, this);
  }
};

TEST_F(TimerTest, ExpiryAdvancesTheClockSignalsAndQueuesTheDpc) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    routine_ = [&] { ++runs; };
    const auto end = run(seed, [&] {
      initialise();
      EXPECT_FALSE(KeSetTimer(&timer_, after(5), &dpc_));
      EXPECT_EQ(KeWaitForSingleObject(&timer_, Executive, KernelMode, FALSE, nullptr), kStatusSuccess);
      EXPECT_GE(scheduler.now(), static_cast<std::uint64_t>(5 * kMillisecond));
      EXPECT_TRUE(KeReadStateTimer(&timer_));
      EXPECT_FALSE(KeCancelTimer(&timer_));
    });
    EXPECT_EQ(end, schedule::EndReason::kAllEnded);
    EXPECT_EQ(runs, 1) << "seed " << seed;
    EXPECT_TRUE(breaches().empty());
  }
}

TEST_F(TimerTest, AbsoluteTimesAreSystemTimes) {
  run(1, [&] {
    initialise();
    LARGE_INTEGER due;
    KeQuerySystemTime(&due);
    due.QuadPart += 3 * kMillisecond;
    KeSetTimer(&timer_, due, nullptr);
    KeWaitForSingleObject(&timer_, Executive, KernelMode, FALSE, nullptr);
    EXPECT_EQ(scheduler.now(), static_cast<std::uint64_t>(3 * kMillisecond));
    // Long past: due at once.
    due.QuadPart = 1;
    KeSetTimer(&timer_, due, nullptr);
    KeWaitForSingleObject(&timer_, Executive, KernelMode, FALSE, nullptr);
    EXPECT_EQ(scheduler.now(), static_cast<std::uint64_t>(3 * kMillisecond));
  });
}

// The drivers' bug: the timer is cancelled, but its DPC was queued before and runs.
TEST_F(TimerTest, CancellingDoesNotTouchADpcThatIsQueued) {
  std::set<BOOLEAN> cancellations;
  std::set<bool> late;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    BOOLEAN cancelled = FALSE;
    bool behind = false;
    int runs = 0;
    routine_ = [&] {
      ++runs;
      late.insert(behind);
    };
    run(seed, [&] {
      initialise();
      KeSetTimer(&timer_, after(1), &dpc_);
      cancelled = KeCancelTimer(&timer_);
      behind = true;
    });
    EXPECT_EQ(runs, cancelled ? 0 : 1) << "seed " << seed;
    cancellations.insert(cancelled);
  }
  EXPECT_EQ(cancellations, (std::set<BOOLEAN>{FALSE, TRUE}));
  EXPECT_EQ(late, (std::set<bool>{false, true}));
}

TEST_F(TimerTest, CancelAndFlushLeaveNothingToRun) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    bool gone = false;
    routine_ = [&] { EXPECT_FALSE(gone); };
    run(seed, [&] {
      initialise();
      KeSetTimerEx(&timer_, after(1), 1, &dpc_);
      KeDelayExecutionThread(KernelMode, FALSE, [] {
        static LARGE_INTEGER time;
        time = after(3);
        return &time;
      }());
      EXPECT_TRUE(KeCancelTimer(&timer_)) << "a periodic timer is always set";
      KeFlushQueuedDpcs();
      gone = true;
    });
  }
}

TEST_F(TimerTest, PeriodicTimersExpireAgainAndAgain) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    KEVENT enough;
    routine_ = [&] {
      if (++runs == 4) {
        KeSetEvent(&enough, 0, FALSE);
      }
    };
    const auto end = run(seed, [&] {
      KeInitializeEvent(&enough, NotificationEvent, FALSE);
      initialise();
      KeSetTimerEx(&timer_, after(10), 2, &dpc_);
      KeWaitForSingleObject(&enough, Executive, KernelMode, FALSE, nullptr);
      KeCancelTimer(&timer_);
    });
    EXPECT_EQ(end, schedule::EndReason::kAllEnded);
    EXPECT_GE(runs, 4);
    EXPECT_GE(scheduler.now(), static_cast<std::uint64_t>(16 * kMillisecond)) << "seed " << seed;
  }
}

TEST_F(TimerTest, SettingASetTimerMovesIt) {
  run(1, [&] {
    initialise();
    const KIRQL old = KeRaiseIrqlToDpcLevel();
    KeLowerIrql(old);
    EXPECT_FALSE(KeSetTimer(&timer_, after(1'000), nullptr));
  });
  std::set<BOOLEAN> moved;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    BOOLEAN was_set = FALSE;
    routine_ = [&] { ++runs; };
    run(seed, [&] {
      initialise();
      KeSetTimer(&timer_, after(1), &dpc_);
      was_set = KeSetTimer(&timer_, after(50), nullptr);
      KeWaitForSingleObject(&timer_, Executive, KernelMode, FALSE, nullptr);
      EXPECT_GE(scheduler.now(), static_cast<std::uint64_t>(50 * kMillisecond));
    });
    EXPECT_EQ(runs, was_set ? 0 : 1);
    moved.insert(was_set);
  }
  EXPECT_EQ(moved, (std::set<BOOLEAN>{FALSE, TRUE}));
}

TEST_F(TimerTest, ASynchronizationTimerWakesOneWaiter) {
  begin(5);
  const auto setter = [&] {
    initialise(SynchronizationTimer);
    KeSetTimer(&timer_, after(1), nullptr);
    KeWaitForSingleObject(&timer_, Executive, KernelMode, FALSE, nullptr);
    EXPECT_FALSE(KeReadStateTimer(&timer_));
  };
  start(setter);
  EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
}

TEST_F(TimerTest, FreeingASetTimerIsABreach) {
  std::set<bool> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] {
      auto* const timer = static_cast<PKTIMER>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(KTIMER), '1miT'));
      KeInitializeTimer(timer);
      KeSetTimer(timer, after(1), nullptr);
      ExFreePoolWithTag(timer, '1miT');
    });
    found.insert(!breaches().empty());
    if (!breaches().empty()) {
      EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kFreedWhileQueued});
    }
  }
  EXPECT_EQ(found, (std::set<bool>{false, true}));
}

TEST_F(TimerTest, ReinitialisingASetTimerIsABreach) {
  std::set<bool> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    routine_ = [&] { ++runs; };
    run(seed, [&] {
      initialise();
      KeSetTimer(&timer_, after(1), &dpc_);
      KeInitializeTimer(&timer_);
    });
    found.insert(!breaches().empty());
    EXPECT_EQ(runs, breaches().empty() ? 1 : 0);
  }
  EXPECT_EQ(found, (std::set<bool>{false, true}));
}

// The DPC is not queued when it is freed: only the expiry comes to it.
TEST_F(TimerTest, ATimerWhoseDpcWasFreedIsABreachAtItsExpiry) {
  std::set<Outcome> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] {
      initialise();
      auto* const dpc = static_cast<PKDPC>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(KDPC), 'cpD1'));
      KeInitializeDpc(dpc, &call, this);
      KeSetTimer(&timer_, after(1), dpc);
      ExFreePoolWithTag(dpc, 'cpD1');
      KeWaitForSingleObject(&timer_, Executive, KernelMode, FALSE, nullptr);
    });
    for (const Outcome outcome : outcomes()) {
      found.insert(outcome);
    }
  }
  EXPECT_EQ(found, (std::set<Outcome>{Outcome::kFreedObject, Outcome::kFreedWhileQueued}));
}

TEST_F(TimerTest, TheSameSeedGivesTheSameTraceAgain) {
  const auto body = [&] {
    initialise();
    KeSetTimerEx(&timer_, after(1), 1, &dpc_);
    LARGE_INTEGER time = after(3);
    KeDelayExecutionThread(KernelMode, FALSE, &time);
    KeCancelTimer(&timer_);
  };
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, body);
    const trace::TraceHash first = recorder.hash();
    run(seed, body);
    EXPECT_EQ(recorder.hash(), first) << "seed " << seed;
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
