#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

NTSTATUS wait_for(PVOID object, PLARGE_INTEGER timeout = nullptr) {
  return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, timeout);
}

class MutexTest : public LockFixture {
 protected:
  void expect(const std::vector<Outcome>& expected, void (*body)(PKMUTEX mutex), std::uint8_t irql = kPassiveLevel) {
    KMUTEX mutex{};
    EXPECT_EQ(outcomes_of(
                  [&] {
                    KeInitializeMutex(&mutex, 0);
                    body(&mutex);
                  },
                  irql),
              expected);
  }
};

TEST_F(MutexTest, Excludes) {
  KMUTEX mutex{};
  expect_exclusive(contend([&] { KeInitializeMutex(&mutex, 0); }, [&] { return wait_for(&mutex); },
                           [&](NTSTATUS) { KeReleaseMutex(&mutex, FALSE); }));
}

TEST_F(MutexTest, LockOrderDeadlocks) {
  KMUTEX a{};
  KMUTEX b{};
  const auto take = [](PKMUTEX first, PKMUTEX second) {
    wait_for(first);
    wait_for(second);
    KeReleaseMutex(second, FALSE);
    KeReleaseMutex(first, FALSE);
  };
  const auto prepare = [&] {
    KeInitializeMutex(&a, 0);
    KeInitializeMutex(&b, 0);
  };
  expect_some_deadlocks(pair(prepare, [&] { take(&a, &b); }, [&] { take(&b, &a); }));
  // Both at once are taken together or not at all.
  const auto take_both = [&] {
    PVOID both[] = {&a, &b};
    KeWaitForMultipleObjects(2, both, WaitAll, Executive, KernelMode, FALSE, nullptr, nullptr);
    KeReleaseMutex(&b, FALSE);
    KeReleaseMutex(&a, FALSE);
  };
  const Contention seen = pair(prepare, take_both, take_both);
  EXPECT_GT(seen.blocked, 0);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
}

TEST_F(MutexTest, IsFreeOnceReleasedAsOftenAsTaken) {
  expect({}, [](PKMUTEX mutex) {
    EXPECT_EQ(KeReadStateMutex(mutex), 1);
    wait_for(mutex);
    EXPECT_EQ(KeReadStateMutex(mutex), 0);
    wait_for(mutex);
    EXPECT_EQ(KeReadStateMutex(mutex), -1);
    EXPECT_EQ(current_kernel().thread_state().locks_held, 1);
    EXPECT_EQ(KeReleaseMutex(mutex, FALSE), -1);
    EXPECT_EQ(KeReadStateMutex(mutex), 0);
    EXPECT_EQ(KeReleaseMutex(mutex, FALSE), 0);
    EXPECT_EQ(KeReadStateMutex(mutex), 1);
    EXPECT_EQ(current_kernel().thread_state().locks_held, 0);
  });
}

TEST_F(MutexTest, ATimeOutDoesNotTakeIt) {
  KMUTEX mutex{};
  const auto holder = [&] {
    wait_for(&mutex);
    LARGE_INTEGER long_time{};
    long_time.QuadPart = -1000;
    KeDelayExecutionThread(KernelMode, FALSE, &long_time);
    KeReleaseMutex(&mutex, FALSE);
  };
  int timed_out = 0;
  const auto other = [&] {
    LARGE_INTEGER none{};
    if (wait_for(&mutex, &none) == kStatusTimeout) {
      ++timed_out;
      EXPECT_EQ(kernel.thread_state().locks_held, 0);
    } else {
      KeReleaseMutex(&mutex, FALSE);
    }
  };
  const Contention seen = pair([&] { KeInitializeMutex(&mutex, 0); }, holder, other);
  EXPECT_GT(timed_out, 0);
  EXPECT_LT(timed_out, kSchedules);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
}

TEST_F(MutexTest, Breaches) {
  expect({Outcome::kLockNotOwned}, [](PKMUTEX mutex) { KeReleaseMutex(mutex, FALSE); });
  expect({Outcome::kLockHeldAtReturn}, [](PKMUTEX mutex) { wait_for(mutex); });
  expect({Outcome::kLockNotOwned}, [](PKMUTEX mutex) {
    wait_for(mutex);
    KeReleaseMutex(mutex, FALSE);
    KeReleaseMutex(mutex, FALSE);
  });
  expect({Outcome::kIrqlTooHigh}, [](PKMUTEX mutex) { KeReadStateMutex(mutex); }, kDispatchLevel + 1);
  expect(
      {Outcome::kWaitAtRaisedIrql, Outcome::kLockNotOwned}, [](PKMUTEX mutex) { KeReleaseMutex(mutex, TRUE); },
      kDispatchLevel);
  expect({Outcome::kWrongObject}, [](PKMUTEX) {
    KMUTEX memory{};
    KeInitializeEvent(reinterpret_cast<PKEVENT>(&memory), NotificationEvent, FALSE);
    KeReleaseMutex(&memory, FALSE);
  });
  KMUTEX mutex{};
  EXPECT_EQ(outcomes_of([&] { KeReleaseMutex(&mutex, FALSE); }), std::vector{Outcome::kUninitializedObject});
}

TEST_F(MutexTest, AMutexThatAnotherThreadHoldsIsNotOnesOwn) {
  KMUTEX mutex{};
  int not_owned = 0;
  const auto holder = [&] {
    wait_for(&mutex);
    kernel.point(Routine::kNone);
    KeReleaseMutex(&mutex, FALSE);
  };
  const auto other = [&] { KeReleaseMutex(&mutex, FALSE); };
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    begin(seed);
    KeInitializeMutex(&mutex, 0);
    start(holder);
    start(other);
    EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
    not_owned += outcomes() == std::vector{Outcome::kLockNotOwned} ? 1 : 0;
  }
  EXPECT_EQ(not_owned, 100);
}

}  // namespace
}  // namespace nmrfuzz::kernel
