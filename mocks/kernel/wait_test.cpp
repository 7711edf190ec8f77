// wait_test.cpp - waits for one and for several objects, time limits, and who is woken.
#include <ntddk.h>

#include <vector>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using schedule::EndReason;

class WaitTest : public KernelFixture {
 protected:
  static NTSTATUS wait_for(PVOID object, const LARGE_INTEGER* limit = nullptr) {
    return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, const_cast<PLARGE_INTEGER>(limit));
  }
  static LARGE_INTEGER after(LONGLONG units) {
    LARGE_INTEGER time{};
    time.QuadPart = -units;
    return time;
  }
  NTSTATUS wait_for_both(WAIT_TYPE type, const LARGE_INTEGER* limit = nullptr) {
    PVOID both[] = {&first_, &second_};
    return KeWaitForMultipleObjects(2, both, type, Executive, KernelMode, FALSE, const_cast<PLARGE_INTEGER>(limit),
                                    nullptr);
  }
  void initialise(BOOLEAN first = FALSE, BOOLEAN second = FALSE) {
    KeInitializeEvent(&first_, SynchronizationEvent, first);
    KeInitializeEvent(&second_, SynchronizationEvent, second);
  }

  KEVENT first_{};
  KEVENT second_{};
};

TEST_F(WaitTest, ATimeLimitOfZeroNeverBlocks) {
  const LARGE_INTEGER zero{};
  EXPECT_EQ(outcomes_of(
                [&] {
                  initialise();
                  EXPECT_EQ(wait_for(&first_, &zero), kStatusTimeout);
                  KeSetEvent(&first_, IO_NO_INCREMENT, FALSE);
                  EXPECT_EQ(wait_for(&first_, &zero), kStatusSuccess);
                },
                kDispatchLevel),
            std::vector<Outcome>{});
  EXPECT_TRUE(events(trace::EventKind::kBlock).empty());
}

TEST_F(WaitTest, ABlockingWaitAtDispatchLevelIsABreach) {
  const LARGE_INTEGER limit = after(10);
  for (const LARGE_INTEGER* const given : {static_cast<const LARGE_INTEGER*>(nullptr), &limit}) {
    EXPECT_EQ(outcomes_of(
                  [&] {
                    initialise(TRUE);
                    wait_for(&first_, given);
                  },
                  kDispatchLevel),
              std::vector{Outcome::kWaitAtRaisedIrql});
  }
}

TEST_F(WaitTest, AWaitForAnyNamesTheObjectThatEndedIt) {
  run(1, [&] {
    initialise(FALSE, TRUE);
    EXPECT_EQ(wait_for_both(WaitAny), 1);
    EXPECT_EQ(KeReadStateEvent(&second_), 0);
  });
  for (const int chosen : {0, 1}) {
    NTSTATUS status = kStatusUnsuccessful;
    const auto waiter = [&] { status = wait_for_both(WaitAny); };
    const auto setter = [&] {
      scheduler.wait_until_idle();
      KeSetEvent(chosen == 0 ? &first_ : &second_, IO_NO_INCREMENT, FALSE);
    };
    begin(1);
    initialise();
    start(waiter);
    start(setter);
    EXPECT_EQ(finish(), EndReason::kAllEnded);
    EXPECT_EQ(status, chosen);
  }
}

TEST_F(WaitTest, AWaitForAllTakesNothingBeforeItCanTakeAll) {
  const LARGE_INTEGER limit = after(10);
  EXPECT_EQ(run(1,
                [&] {
                  initialise(TRUE, FALSE);
                  EXPECT_EQ(wait_for_both(WaitAll, &limit), kStatusTimeout);
                  EXPECT_EQ(KeReadStateEvent(&first_), 1);
                  KeSetEvent(&second_, IO_NO_INCREMENT, FALSE);
                  EXPECT_EQ(wait_for_both(WaitAll, &limit), kStatusSuccess);
                  EXPECT_EQ(KeReadStateEvent(&first_), 0);
                  EXPECT_EQ(KeReadStateEvent(&second_), 0);
                }),
            EndReason::kAllEnded);
}

// The time limit of a wait that has ended must not end a later one of the same thread.
TEST_F(WaitTest, TheTimeLimitEndsWithItsWait) {
  const auto waiter = [&] {
    const LARGE_INTEGER short_limit = after(1000);
    const LARGE_INTEGER long_limit = after(1'000'000);
    EXPECT_EQ(wait_for(&first_, &short_limit), kStatusSuccess);
    EXPECT_EQ(wait_for(&second_, &long_limit), kStatusTimeout);
    EXPECT_GE(scheduler.now(), 1'000'000U);
  };
  const auto setter = [&] {
    while (events(trace::EventKind::kBlock).empty()) {
      scheduler.point({});
    }
    KeSetEvent(&first_, IO_NO_INCREMENT, FALSE);
  };
  int in_time = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    begin(seed);
    initialise();
    NTSTATUS first = kStatusTimeout;
    const auto body = [&] {
      const LARGE_INTEGER short_limit = after(1000);
      first = wait_for(&first_, &short_limit);
    };
    start(body);
    start(setter);
    finish();
    in_time += first == kStatusSuccess ? 1 : 0;
    if (first == kStatusSuccess) {  // the same decisions, up to there: now with a second wait behind it
      begin(seed);
      initialise();
      start(waiter);
      start(setter);
      EXPECT_EQ(finish(), EndReason::kAllEnded) << "seed " << seed;
    }
  }
  EXPECT_GT(in_time, 0);
}

TEST_F(WaitTest, TheOwnerOfAMutexDoesNotWaitForIt) {
  KMUTEX mutex{};
  EXPECT_EQ(run(1,
                [&] {
                  KeInitializeMutex(&mutex, 0);
                  wait_for(&mutex);
                  wait_for(&mutex);
                  KeReleaseMutex(&mutex, FALSE);
                  KeReleaseMutex(&mutex, FALSE);
                }),
            EndReason::kAllEnded);
  EXPECT_TRUE(breaches().empty());
}

// Two readers that need each other both get in when the writer leaves.
TEST_F(WaitTest, AReleaseWakesEverybodyWhoWaits) {
  EX_PUSH_LOCK lock{};
  int inside = 0;
  bool held = false;
  const auto reader = [&] {
    while (!held) {
      kernel.point(Routine::kNone);
    }
    KeEnterCriticalRegion();
    ExAcquirePushLockShared(&lock);
    if (++inside == 2) {
      KeSetEvent(&first_, IO_NO_INCREMENT, FALSE);
    }
    wait_for(&first_);
    ExReleasePushLockShared(&lock);
    KeLeaveCriticalRegion();
  };
  const auto writer = [&] {
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&lock);
    held = true;
    scheduler.wait_until_idle();
    ExReleasePushLockExclusive(&lock);
    KeLeaveCriticalRegion();
  };
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    begin(seed);
    inside = 0;
    held = false;
    ExInitializePushLock(&lock);
    KeInitializeEvent(&first_, NotificationEvent, FALSE);
    start(reader);
    start(reader);
    start(writer);
    EXPECT_EQ(finish(), EndReason::kAllEnded) << "seed " << seed;
    EXPECT_TRUE(breaches().empty());
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
