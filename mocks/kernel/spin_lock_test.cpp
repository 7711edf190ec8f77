#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"

namespace nmrfuzz::kernel {
namespace {

class SpinLockTest : public LockFixture {
 protected:
  void expect(const std::vector<Outcome>& expected, void (*body)(PKSPIN_LOCK lock), std::uint8_t irql = kPassiveLevel) {
    KSPIN_LOCK lock{};
    EXPECT_EQ(outcomes_of(
                  [&] {
                    KeInitializeSpinLock(&lock);
                    body(&lock);
                  },
                  irql),
              expected);
  }
};

TEST_F(SpinLockTest, Excludes) {
  KSPIN_LOCK lock{};
  expect_exclusive(contend([&] { KeInitializeSpinLock(&lock); }, [&] { return KeAcquireSpinLockRaiseToDpc(&lock); },
                           [&](KIRQL old) { KeReleaseSpinLock(&lock, old); }));
}

TEST_F(SpinLockTest, QueuedAcquisitionExcludesToo) {
  KSPIN_LOCK lock{};
  expect_exclusive(contend([&] { KeInitializeSpinLock(&lock); },
                           [&] {
                             KLOCK_QUEUE_HANDLE handle;
                             KeAcquireInStackQueuedSpinLock(&lock, &handle);
                             return handle;
                           },
                           [](KLOCK_QUEUE_HANDLE handle) { KeReleaseInStackQueuedSpinLock(&handle); }));
}

TEST_F(SpinLockTest, LockOrderDeadlocks) {
  KSPIN_LOCK a{};
  KSPIN_LOCK b{};
  const auto take = [](PKSPIN_LOCK first, PKSPIN_LOCK second) {
    const KIRQL old = KeAcquireSpinLockRaiseToDpc(first);
    KeAcquireSpinLockAtDpcLevel(second);
    KeReleaseSpinLockFromDpcLevel(second);
    KeReleaseSpinLock(first, old);
  };
  expect_some_deadlocks(pair(
      [&] {
        KeInitializeSpinLock(&a);
        KeInitializeSpinLock(&b);
      },
      [&] { take(&a, &b); }, [&] { take(&b, &a); }));
}

TEST_F(SpinLockTest, HoldsDispatchLevel) {
  expect({}, [](PKSPIN_LOCK lock) {
    const KIRQL old = KeAcquireSpinLockRaiseToDpc(lock);
    EXPECT_EQ(old, PASSIVE_LEVEL);
    EXPECT_EQ(KeGetCurrentIrql(), DISPATCH_LEVEL);
    EXPECT_EQ(current_kernel().thread_state().locks_held, 1);
    KeReleaseSpinLock(lock, old);
    EXPECT_EQ(KeGetCurrentIrql(), PASSIVE_LEVEL);
    EXPECT_EQ(current_kernel().thread_state().locks_held, 0);
  });
  expect(
      {},
      [](PKSPIN_LOCK lock) {
        KLOCK_QUEUE_HANDLE handle;
        KeAcquireInStackQueuedSpinLock(lock, &handle);
        EXPECT_EQ(KeGetCurrentIrql(), DISPATCH_LEVEL);
        KeReleaseInStackQueuedSpinLock(&handle);
        EXPECT_EQ(KeGetCurrentIrql(), APC_LEVEL);
      },
      kApcLevel);
}

TEST_F(SpinLockTest, TriesAndTests) {
  expect(
      {},
      [](PKSPIN_LOCK lock) {
        EXPECT_TRUE(KeTestSpinLock(lock));
        EXPECT_TRUE(KeTryToAcquireSpinLockAtDpcLevel(lock));
        EXPECT_FALSE(KeTestSpinLock(lock));
        EXPECT_FALSE(KeTryToAcquireSpinLockAtDpcLevel(lock));
        KeReleaseSpinLockFromDpcLevel(lock);
        EXPECT_TRUE(KeTestSpinLock(lock));
      },
      kDispatchLevel);
}

TEST_F(SpinLockTest, ZeroFilledMemoryIsAnInitialisedLock) {
  KSPIN_LOCK lock = 0;
  EXPECT_EQ(outcomes_of([&] {
              const KIRQL old = KeAcquireSpinLockRaiseToDpc(&lock);
              KeReleaseSpinLock(&lock, old);
            }),
            std::vector<Outcome>{});
}

TEST_F(SpinLockTest, Breaches) {
  expect({Outcome::kLockRecursive}, [](PKSPIN_LOCK lock) {
    const KIRQL old = KeAcquireSpinLockRaiseToDpc(lock);
    KeAcquireSpinLockAtDpcLevel(lock);
    KeReleaseSpinLock(lock, old);
  });
  expect({Outcome::kLockNotOwned}, [](PKSPIN_LOCK lock) { KeReleaseSpinLockFromDpcLevel(lock); }, kDispatchLevel);
  expect({Outcome::kIrqlTooLow, Outcome::kIrqlTooLow}, [](PKSPIN_LOCK lock) {
    KeAcquireSpinLockAtDpcLevel(lock);
    KeReleaseSpinLockFromDpcLevel(lock);
  });
  expect({Outcome::kLockHeldAtReturn}, [](PKSPIN_LOCK lock) {
    KeAcquireSpinLockRaiseToDpc(lock);
    KeLowerIrql(PASSIVE_LEVEL);
  });
  KSPIN_LOCK garbage = 0xdead;
  EXPECT_EQ(outcomes_of([&] { KeAcquireSpinLockRaiseToDpc(&garbage); }),
            (std::vector{Outcome::kLockUninitialized, Outcome::kIrqlChanged}));
}

TEST_F(SpinLockTest, ALockThatAnotherThreadHoldsIsNotOnesOwn) {
  KSPIN_LOCK lock{};
  int not_owned = 0;
  const auto holder = [&] {
    const KIRQL old = KeAcquireSpinLockRaiseToDpc(&lock);
    kernel.point(Routine::kNone);
    KeReleaseSpinLock(&lock, old);
  };
  const auto other = [&] { KeReleaseSpinLockFromDpcLevel(&lock); };
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    begin(seed);
    KeInitializeSpinLock(&lock);
    start(holder);
    start(other, kDispatchLevel);
    EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
    not_owned += outcomes() == std::vector{Outcome::kLockNotOwned} ? 1 : 0;
  }
  EXPECT_EQ(not_owned, 100);
}

}  // namespace
}  // namespace nmrfuzz::kernel
