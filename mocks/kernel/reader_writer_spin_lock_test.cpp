#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"

namespace nmrfuzz::kernel {
namespace {

class ReaderWriterSpinLockTest : public LockFixture {
 protected:
  void expect(const std::vector<Outcome>& expected, void (*body)(PEX_SPIN_LOCK lock),
              std::uint8_t irql = kPassiveLevel) {
    EX_SPIN_LOCK lock = 0;
    EXPECT_EQ(outcomes_of([&] { body(&lock); }, irql), expected);
  }
};

// The fixture's own probe: without a lock threads do meet.
TEST_F(ReaderWriterSpinLockTest, WithoutALockThreadsMeet) {
  const Contention seen = contend([] {}, [] { return 0; }, [](int) {});
  EXPECT_GT(seen.inside_maximum, 1);
}

TEST_F(ReaderWriterSpinLockTest, ExclusiveExcludes) {
  EX_SPIN_LOCK lock = 0;
  expect_exclusive(contend([&] { lock = 0; }, [&] { return ExAcquireSpinLockExclusive(&lock); },
                           [&](KIRQL old) { ExReleaseSpinLockExclusive(&lock, old); }));
}

TEST_F(ReaderWriterSpinLockTest, SharedShares) {
  EX_SPIN_LOCK lock = 0;
  const Contention seen = contend([&] { lock = 0; }, [&] { return ExAcquireSpinLockShared(&lock); },
                                  [&](KIRQL old) { ExReleaseSpinLockShared(&lock, old); });
  EXPECT_EQ(seen.inside_maximum, 3);
  EXPECT_EQ(seen.blocked, 0);
  EXPECT_EQ(seen.others, 0);
}

TEST_F(ReaderWriterSpinLockTest, AReaderAndAWriterExclude) {
  EX_SPIN_LOCK lock = 0;
  int inside = 0;
  const auto pass = [&] {
    EXPECT_EQ(++inside, 1);
    kernel.point(Routine::kNone);
    --inside;
  };
  const auto reader = [&] {
    const KIRQL old = ExAcquireSpinLockShared(&lock);
    pass();
    ExReleaseSpinLockShared(&lock, old);
  };
  const auto writer = [&] {
    const KIRQL old = ExAcquireSpinLockExclusive(&lock);
    pass();
    ExReleaseSpinLockExclusive(&lock, old);
  };
  const Contention seen = pair([&] { lock = 0; }, reader, writer);
  EXPECT_GT(seen.blocked, 0);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
}

TEST_F(ReaderWriterSpinLockTest, LockOrderDeadlocks) {
  EX_SPIN_LOCK a = 0;
  EX_SPIN_LOCK b = 0;
  const auto take = [](PEX_SPIN_LOCK first, PEX_SPIN_LOCK second) {
    const KIRQL old = ExAcquireSpinLockShared(first);
    ExAcquireSpinLockExclusiveAtDpcLevel(second);
    ExReleaseSpinLockExclusiveFromDpcLevel(second);
    ExReleaseSpinLockShared(first, old);
  };
  const auto reset = [&] {
    a = 0;
    b = 0;
  };
  expect_some_deadlocks(pair(reset, [&] { take(&a, &b); }, [&] { take(&b, &a); }));
  EXPECT_EQ(pair(reset, [&] { take(&a, &b); }, [&] { take(&a, &b); }).deadlocks, 0);
}

TEST_F(ReaderWriterSpinLockTest, RaisesAndRestoresIrql) {
  expect(
      {},
      [](PEX_SPIN_LOCK lock) {
        const KIRQL old = ExAcquireSpinLockExclusive(lock);
        EXPECT_EQ(old, kApcLevel);
        EXPECT_EQ(KeGetCurrentIrql(), kDispatchLevel);
        ExReleaseSpinLockExclusive(lock, old);
        EXPECT_EQ(KeGetCurrentIrql(), kApcLevel);
      },
      kApcLevel);
}

TEST_F(ReaderWriterSpinLockTest, ConvertsOnlyTheSoleReader) {
  expect({}, [](PEX_SPIN_LOCK lock) {
    const KIRQL old = ExAcquireSpinLockShared(lock);
    EXPECT_TRUE(ExTryConvertSharedSpinLockExclusive(lock));
    ExReleaseSpinLockExclusive(lock, old);
  });
  EX_SPIN_LOCK lock = 0;
  int converted = 0;
  const auto body = [&] {
    const KIRQL old = ExAcquireSpinLockShared(&lock);
    kernel.point(Routine::kNone);
    if (ExTryConvertSharedSpinLockExclusive(&lock) != 0) {
      ++converted;
      ExReleaseSpinLockExclusive(&lock, old);
    } else {
      ExReleaseSpinLockShared(&lock, old);
    }
  };
  const Contention seen = pair([&] { lock = 0; }, body, body);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
  EXPECT_GT(converted, kSchedules);
  EXPECT_LT(converted, 2 * kSchedules);
}

TEST_F(ReaderWriterSpinLockTest, Breaches) {
  expect({Outcome::kLockRecursive}, [](PEX_SPIN_LOCK lock) {
    const KIRQL old = ExAcquireSpinLockExclusive(lock);
    ExAcquireSpinLockExclusiveAtDpcLevel(lock);
    ExReleaseSpinLockExclusive(lock, old);
  });
  expect({Outcome::kLockRecursive}, [](PEX_SPIN_LOCK lock) {
    const KIRQL old = ExAcquireSpinLockShared(lock);
    ExAcquireSpinLockSharedAtDpcLevel(lock);
    ExReleaseSpinLockShared(lock, old);
  });
  expect({Outcome::kLockRecursive}, [](PEX_SPIN_LOCK lock) {
    const KIRQL old = ExAcquireSpinLockShared(lock);
    ExAcquireSpinLockExclusiveAtDpcLevel(lock);
    ExReleaseSpinLockShared(lock, old);
  });
  expect(
      {Outcome::kLockNotOwned}, [](PEX_SPIN_LOCK lock) { ExReleaseSpinLockExclusive(lock, DISPATCH_LEVEL); },
      kDispatchLevel);
  expect(
      {Outcome::kLockNotOwned, Outcome::kLockNotOwned},
      [](PEX_SPIN_LOCK lock) {
        ExReleaseSpinLockSharedFromDpcLevel(lock);
        ExTryConvertSharedSpinLockExclusive(lock);
      },
      kDispatchLevel);
  expect(
      {Outcome::kIrqlTooHigh},
      [](PEX_SPIN_LOCK lock) {
        ExAcquireSpinLockShared(lock);
        ExReleaseSpinLockSharedFromDpcLevel(lock);
        current_kernel().set_irql(kDispatchLevel + 1);
      },
      kDispatchLevel + 1);
  expect({Outcome::kIrqlTooLow, Outcome::kIrqlTooLow}, [](PEX_SPIN_LOCK lock) {
    ExAcquireSpinLockExclusiveAtDpcLevel(lock);
    ExReleaseSpinLockExclusiveFromDpcLevel(lock);
  });
  expect({Outcome::kIrqlRaisedByLower, Outcome::kIrqlChanged}, [](PEX_SPIN_LOCK lock) {
    ExAcquireSpinLockExclusive(lock);
    ExReleaseSpinLockExclusive(lock, DISPATCH_LEVEL + 1);
  });
  expect(
      {Outcome::kLockUninitialized},
      [](PEX_SPIN_LOCK lock) {
        *lock = 77;
        ExAcquireSpinLockExclusiveAtDpcLevel(lock);
      },
      kDispatchLevel);
  expect(
      {Outcome::kNullArgument}, [](PEX_SPIN_LOCK) { ExAcquireSpinLockExclusiveAtDpcLevel(nullptr); }, kDispatchLevel);
  expect(
      {Outcome::kLockHeldAtReturn}, [](PEX_SPIN_LOCK lock) { ExAcquireSpinLockSharedAtDpcLevel(lock); },
      kDispatchLevel);
}

}  // namespace
}  // namespace nmrfuzz::kernel
