#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

NTSTATUS wait_for(PVOID object, PLARGE_INTEGER timeout = nullptr) {
  return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, timeout);
}

class SemaphoreTest : public LockFixture {};

TEST_F(SemaphoreTest, LetsInAsManyAsItCounts) {
  for (const LONG count : {1, 2}) {
    SCOPED_TRACE(count);
    KSEMAPHORE semaphore{};
    const Contention seen =
        contend([&] { KeInitializeSemaphore(&semaphore, count, count); }, [&] { return wait_for(&semaphore); },
                [&](NTSTATUS) { KeReleaseSemaphore(&semaphore, 0, 1, FALSE); });
    EXPECT_EQ(seen.inside_maximum, count);
    EXPECT_GT(seen.blocked, 0);
    EXPECT_EQ(seen.deadlocks + seen.others, 0);
  }
}

TEST_F(SemaphoreTest, AReleaseByTwoWakesTwo) {
  KSEMAPHORE semaphore{};
  int through = 0;
  const auto waiter = [&] {
    wait_for(&semaphore);
    ++through;
  };
  const auto releaser = [&] { EXPECT_EQ(KeReleaseSemaphore(&semaphore, 0, 2, FALSE), 0); };
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    begin(seed);
    KeInitializeSemaphore(&semaphore, 0, 5);
    through = 0;
    start(waiter);
    start(waiter);
    start(waiter);
    start(releaser);
    EXPECT_EQ(finish(), schedule::EndReason::kDeadlock);  // the third waits for ever
    EXPECT_EQ(through, 2);
    EXPECT_TRUE(breaches().empty());
  }
}

TEST_F(SemaphoreTest, CountsUpToItsLimit) {
  KSEMAPHORE semaphore{};
  EXPECT_EQ(outcomes_of([&] {
              LARGE_INTEGER none{};
              KeInitializeSemaphore(&semaphore, 1, 3);
              EXPECT_EQ(KeReadStateSemaphore(&semaphore), 1);
              EXPECT_EQ(KeReleaseSemaphore(&semaphore, 0, 2, FALSE), 1);
              EXPECT_EQ(KeReadStateSemaphore(&semaphore), 3);
              EXPECT_EQ(wait_for(&semaphore, &none), kStatusSuccess);
              EXPECT_EQ(KeReadStateSemaphore(&semaphore), 2);
              EXPECT_EQ(wait_for(&semaphore, &none), kStatusSuccess);
              EXPECT_EQ(wait_for(&semaphore, &none), kStatusSuccess);
              EXPECT_EQ(wait_for(&semaphore, &none), kStatusTimeout);
            }),
            std::vector<Outcome>{});
}

TEST_F(SemaphoreTest, Breaches) {
  struct Case {
    const char* name;
    void (*body)(PKSEMAPHORE semaphore);
    std::uint8_t irql;
    Outcome expected;
  };
  const Case cases[] = {
      {"beyond the limit", [](PKSEMAPHORE s) { KeReleaseSemaphore(s, 0, 3, FALSE); }, kPassiveLevel,
       Outcome::kBadArgumentValue},
      {"by nothing", [](PKSEMAPHORE s) { KeReleaseSemaphore(s, 0, 0, FALSE); }, kPassiveLevel,
       Outcome::kBadArgumentValue},
      {"by less than nothing", [](PKSEMAPHORE s) { KeReleaseSemaphore(s, 0, -1, FALSE); }, kPassiveLevel,
       Outcome::kBadArgumentValue},
      {"by far too much", [](PKSEMAPHORE s) { KeReleaseSemaphore(s, 0, MAXLONG, FALSE); }, kPassiveLevel,
       Outcome::kBadArgumentValue},
      {"wait at dispatch", [](PKSEMAPHORE s) { KeReleaseSemaphore(s, 0, 1, TRUE); }, kDispatchLevel,
       Outcome::kWaitAtRaisedIrql},
      {"IRQL", [](PKSEMAPHORE s) { KeReadStateSemaphore(s); }, kDispatchLevel + 1, Outcome::kIrqlTooHigh},
      {"count above limit", [](PKSEMAPHORE s) { KeInitializeSemaphore(s, 2, 1); }, kPassiveLevel,
       Outcome::kBadArgumentValue},
      {"negative count", [](PKSEMAPHORE s) { KeInitializeSemaphore(s, -1, 1); }, kPassiveLevel,
       Outcome::kBadArgumentValue},
      {"no limit", [](PKSEMAPHORE s) { KeInitializeSemaphore(s, 0, 0); }, kPassiveLevel, Outcome::kBadArgumentValue},
      {"null", [](PKSEMAPHORE) { KeReleaseSemaphore(nullptr, 0, 1, FALSE); }, kPassiveLevel, Outcome::kNullArgument},
      {"overwritten",
       [](PKSEMAPHORE s) {
         *s = {};
         KeReleaseSemaphore(s, 0, 1, FALSE);
       },
       kPassiveLevel, Outcome::kUninitializedObject},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    KSEMAPHORE semaphore{};
    EXPECT_EQ(outcomes_of(
                  [&] {
                    KeInitializeSemaphore(&semaphore, 1, 3);
                    test.body(&semaphore);
                  },
                  test.irql),
              std::vector{test.expected});
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
