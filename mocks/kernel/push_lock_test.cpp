#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"

namespace nmrfuzz::kernel {
namespace {

using trace::EventKind;

class PushLockTest : public LockFixture {
 protected:
  void expect(const std::vector<Outcome>& expected, void (*body)(PEX_PUSH_LOCK lock),
              std::uint8_t irql = kPassiveLevel) {
    EX_PUSH_LOCK lock{};
    EXPECT_EQ(outcomes_of([&] { body(&lock); }, irql), expected);
  }
};

TEST_F(PushLockTest, ExclusiveExcludes) {
  EX_PUSH_LOCK lock{};
  expect_exclusive(contend([&] { ExInitializePushLock(&lock); },
                           [&] {
                             ExAcquirePushLockExclusive(&lock);
                             return 0;
                           },
                           [&](int) { ExReleasePushLockExclusive(&lock); }));
}

TEST_F(PushLockTest, SharedShares) {
  EX_PUSH_LOCK lock{};
  const Contention seen = contend([&] { ExInitializePushLock(&lock); },
                                  [&] {
                                    ExAcquirePushLockShared(&lock);
                                    return 0;
                                  },
                                  [&](int) { ExReleasePushLockShared(&lock); });
  EXPECT_EQ(seen.inside_maximum, 3);
  EXPECT_EQ(seen.blocked + seen.others, 0);
}

TEST_F(PushLockTest, LockOrderDeadlocks) {
  EX_PUSH_LOCK a{};
  EX_PUSH_LOCK b{};
  const auto take = [](PEX_PUSH_LOCK first, PEX_PUSH_LOCK second) {
    ExAcquirePushLockExclusive(first);
    ExAcquirePushLockShared(second);
    ExReleasePushLockShared(second);
    ExReleasePushLockExclusive(first);
  };
  const auto prepare = [&] {
    ExInitializePushLock(&a);
    ExInitializePushLock(&b);
  };
  expect_some_deadlocks(pair(prepare, [&] { take(&a, &b); }, [&] { take(&b, &a); }));
}

// Lawful alone; with a writer that comes in between it is a deadlock.
TEST_F(PushLockTest, SharedTwiceDeadlocksWithAWriterInBetween) {
  EX_PUSH_LOCK lock{};
  const auto reader = [&] {
    ExAcquirePushLockShared(&lock);
    ExAcquirePushLockShared(&lock);
    ExReleasePushLockShared(&lock);
    ExReleasePushLockShared(&lock);
  };
  const auto writer = [&] {
    ExAcquirePushLockExclusive(&lock);
    ExReleasePushLockExclusive(&lock);
  };
  expect_some_deadlocks(pair([&] { ExInitializePushLock(&lock); }, reader, writer));
}

TEST_F(PushLockTest, ZeroFilledMemoryIsALock) {
  expect({}, [](PEX_PUSH_LOCK lock) {
    ExAcquirePushLockExclusive(lock);
    ExReleasePushLockExclusive(lock);
  });
}

TEST_F(PushLockTest, EventsTellWhetherApcsWereOn) {
  struct Case {
    const char* name;
    void (*enter)();
    void (*leave)();
    std::uint64_t expected;
  };
  const Case cases[] = {
      {"nothing", [] {}, [] {}, 1},
      {"critical region", [] { KeEnterCriticalRegion(); }, [] { KeLeaveCriticalRegion(); }, 0},
      {"guarded region", [] { KeEnterGuardedRegion(); }, [] { KeLeaveGuardedRegion(); }, 0},
      {"APC level", [] { KfRaiseIrql(APC_LEVEL); }, [] { KeLowerIrql(PASSIVE_LEVEL); }, 0},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EX_PUSH_LOCK lock{};
    run(0, [&] {
      test.enter();
      ExAcquirePushLockExclusive(&lock);
      ExReleasePushLockExclusive(&lock);
      test.leave();
    });
    EXPECT_TRUE(breaches().empty());
    const auto acquired = events(EventKind::kCall, Routine::ExAcquirePushLockExclusive);
    ASSERT_EQ(acquired.size(), 1U);
    EXPECT_EQ(acquired[0].a, test.expected);
  }
}

TEST_F(PushLockTest, Breaches) {
  expect({Outcome::kLockRecursive}, [](PEX_PUSH_LOCK lock) {
    ExAcquirePushLockExclusive(lock);
    ExAcquirePushLockExclusive(lock);
    ExReleasePushLockExclusive(lock);
  });
  expect({Outcome::kLockRecursive}, [](PEX_PUSH_LOCK lock) {
    ExAcquirePushLockExclusive(lock);
    ExAcquirePushLockShared(lock);
    ExReleasePushLockExclusive(lock);
  });
  expect({Outcome::kLockRecursive}, [](PEX_PUSH_LOCK lock) {
    ExAcquirePushLockShared(lock);
    ExAcquirePushLockExclusive(lock);
    ExReleasePushLockShared(lock);
  });
  expect({}, [](PEX_PUSH_LOCK lock) {
    ExAcquirePushLockShared(lock);
    ExAcquirePushLockShared(lock);
    ExReleasePushLockShared(lock);
    ExReleasePushLockShared(lock);
  });
  expect({Outcome::kLockNotOwned, Outcome::kLockNotOwned}, [](PEX_PUSH_LOCK lock) {
    ExReleasePushLockExclusive(lock);
    ExReleasePushLockShared(lock);
  });
  // Released as something that it was not acquired as.
  expect({Outcome::kLockNotOwned, Outcome::kLockHeldAtReturn}, [](PEX_PUSH_LOCK lock) {
    ExAcquirePushLockShared(lock);
    ExReleasePushLockExclusive(lock);
  });
  expect(
      {Outcome::kIrqlTooHigh, Outcome::kIrqlTooHigh},
      [](PEX_PUSH_LOCK lock) {
        ExAcquirePushLockShared(lock);
        ExReleasePushLockShared(lock);
      },
      kDispatchLevel);
  expect({Outcome::kLockUninitialized}, [](PEX_PUSH_LOCK lock) {
    lock->Value = 0xa5a5a5a5a5a5a5a5;
    ExAcquirePushLockExclusive(lock);
  });
  expect({Outcome::kNullArgument}, [](PEX_PUSH_LOCK) { ExAcquirePushLockExclusive(nullptr); });
}

TEST_F(PushLockTest, ALockThatAnotherThreadHoldsIsNotOnesOwn) {
  EX_PUSH_LOCK lock{};
  KEVENT held{};
  KEVENT tried{};
  begin(0);
  ExInitializePushLock(&lock);
  KeInitializeEvent(&held, NotificationEvent, FALSE);
  KeInitializeEvent(&tried, NotificationEvent, FALSE);
  const auto holder = [&] {
    ExAcquirePushLockShared(&lock);
    KeSetEvent(&held, 0, FALSE);
    KeWaitForSingleObject(&tried, Executive, KernelMode, FALSE, nullptr);
    ExReleasePushLockShared(&lock);
  };
  const auto other = [&] {
    KeWaitForSingleObject(&held, Executive, KernelMode, FALSE, nullptr);
    ExReleasePushLockShared(&lock);
    KeSetEvent(&tried, 0, FALSE);
  };
  start(holder);
  start(other);
  EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
  EXPECT_EQ(outcomes(), std::vector{Outcome::kLockNotOwned});
}

}  // namespace
}  // namespace nmrfuzz::kernel
