#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"

namespace nmrfuzz::kernel {
namespace {

class FastMutexTest : public LockFixture {
 protected:
  void expect(const std::vector<Outcome>& expected, void (*body)(PFAST_MUTEX mutex),
              std::uint8_t irql = kPassiveLevel) {
    FAST_MUTEX mutex{};
    EXPECT_EQ(outcomes_of(
                  [&] {
                    ExInitializeFastMutex(&mutex);
                    body(&mutex);
                  },
                  irql),
              expected);
  }
};

TEST_F(FastMutexTest, Excludes) {
  FAST_MUTEX mutex{};
  expect_exclusive(contend([&] { ExInitializeFastMutex(&mutex); },
                           [&] {
                             ExAcquireFastMutex(&mutex);
                             return 0;
                           },
                           [&](int) { ExReleaseFastMutex(&mutex); }));
}

TEST_F(FastMutexTest, UnsafePairExcludes) {
  FAST_MUTEX mutex{};
  expect_exclusive(contend([&] { ExInitializeFastMutex(&mutex); },
                           [&] {
                             KeEnterCriticalRegion();
                             ExAcquireFastMutexUnsafe(&mutex);
                             return 0;
                           },
                           [&](int) {
                             ExReleaseFastMutexUnsafe(&mutex);
                             KeLeaveCriticalRegion();
                           }));
}

TEST_F(FastMutexTest, LockOrderDeadlocks) {
  FAST_MUTEX a{};
  FAST_MUTEX b{};
  const auto take = [](PFAST_MUTEX first, PFAST_MUTEX second) {
    ExAcquireFastMutex(first);
    ExAcquireFastMutex(second);
    ExReleaseFastMutex(second);
    ExReleaseFastMutex(first);
  };
  expect_some_deadlocks(pair(
      [&] {
        ExInitializeFastMutex(&a);
        ExInitializeFastMutex(&b);
      },
      [&] { take(&a, &b); }, [&] { take(&b, &a); }));
}

TEST_F(FastMutexTest, HoldsApcLevel) {
  expect({}, [](PFAST_MUTEX mutex) {
    ExAcquireFastMutex(mutex);
    EXPECT_EQ(KeGetCurrentIrql(), APC_LEVEL);
    ExReleaseFastMutex(mutex);
    EXPECT_EQ(KeGetCurrentIrql(), PASSIVE_LEVEL);
    EXPECT_TRUE(ExTryToAcquireFastMutex(mutex));
    EXPECT_EQ(KeGetCurrentIrql(), APC_LEVEL);
    EXPECT_FALSE(ExTryToAcquireFastMutex(mutex));
    ExReleaseFastMutex(mutex);
    EXPECT_EQ(KeGetCurrentIrql(), PASSIVE_LEVEL);
  });
  expect(
      {},
      [](PFAST_MUTEX mutex) {
        ExAcquireFastMutex(mutex);
        ExReleaseFastMutex(mutex);
        EXPECT_EQ(KeGetCurrentIrql(), APC_LEVEL);
      },
      kApcLevel);
}

TEST_F(FastMutexTest, TryFailsAndKeepsTheIrqlWhileAnotherThreadHoldsIt) {
  FAST_MUTEX mutex{};
  int refused = 0;
  const auto holder = [&] {
    ExAcquireFastMutex(&mutex);
    kernel.point(Routine::kNone);
    ExReleaseFastMutex(&mutex);
  };
  const auto other = [&] {
    if (ExTryToAcquireFastMutex(&mutex)) {
      ExReleaseFastMutex(&mutex);
    } else {
      ++refused;
    }
    EXPECT_EQ(KeGetCurrentIrql(), PASSIVE_LEVEL);
  };
  const Contention seen = pair([&] { ExInitializeFastMutex(&mutex); }, holder, other);
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, kSchedules);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
}

TEST_F(FastMutexTest, Breaches) {
  expect({Outcome::kLockRecursive}, [](PFAST_MUTEX mutex) {
    ExAcquireFastMutex(mutex);
    ExAcquireFastMutex(mutex);
    ExReleaseFastMutex(mutex);
  });
  expect({Outcome::kLockNotOwned}, [](PFAST_MUTEX mutex) { ExReleaseFastMutex(mutex); }, kApcLevel);
  expect({Outcome::kIrqlTooLow}, [](PFAST_MUTEX mutex) {
    ExAcquireFastMutex(mutex);
    KeLowerIrql(PASSIVE_LEVEL);
    ExReleaseFastMutex(mutex);
  });
  expect({Outcome::kIrqlTooHigh}, [](PFAST_MUTEX mutex) {
    KIRQL old = KeRaiseIrqlToDpcLevel();
    ExAcquireFastMutex(mutex);
    ExReleaseFastMutex(mutex);
    current_kernel().set_irql(old);
  });
  expect({Outcome::kIrqlTooLow, Outcome::kIrqlTooLow}, [](PFAST_MUTEX mutex) {
    ExAcquireFastMutexUnsafe(mutex);
    ExReleaseFastMutexUnsafe(mutex);
  });
  expect(
      {Outcome::kBadArgumentValue},
      [](PFAST_MUTEX mutex) {
        ExAcquireFastMutexUnsafe(mutex);
        ExReleaseFastMutex(mutex);
      },
      kApcLevel);
  expect({Outcome::kBadArgumentValue, Outcome::kIrqlChanged}, [](PFAST_MUTEX mutex) {
    ExAcquireFastMutex(mutex);
    ExReleaseFastMutexUnsafe(mutex);
  });
  expect({Outcome::kLockHeldAtReturn}, [](PFAST_MUTEX mutex) { ExAcquireFastMutex(mutex); }, kApcLevel);
}

TEST_F(FastMutexTest, ZeroFilledMemoryIsNoFastMutex) {
  FAST_MUTEX mutex{};
  EXPECT_EQ(outcomes_of([&] { ExAcquireFastMutex(&mutex); }), std::vector{Outcome::kLockUninitialized});
  EXPECT_EQ(outcomes_of([] { ExAcquireFastMutex(nullptr); }), std::vector{Outcome::kNullArgument});
}

}  // namespace
}  // namespace nmrfuzz::kernel
