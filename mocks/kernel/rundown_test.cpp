#include <ntddk.h>

#include <vector>

#include "kernel/lock_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using trace::EventKind;

constexpr ULONG kTag = 0x74736554;  // "Test"

class RundownTest : public LockFixture {
 protected:
  void expect(const std::vector<Outcome>& expected, void (*body)(PEX_RUNDOWN_REF reference),
              std::uint8_t irql = kPassiveLevel) {
    EX_RUNDOWN_REF reference{};
    EXPECT_EQ(outcomes_of([&] { body(&reference); }, irql), expected);
  }
};

TEST_F(RundownTest, AWaitEndsAfterTheLastReleaseAndRefusesNewHolders) {
  EX_RUNDOWN_REF reference{};
  bool gone = false;
  int acquired = 0;
  const auto user = [&] {
    if (ExAcquireRundownProtection(&reference)) {
      ++acquired;
      EXPECT_FALSE(gone);
      kernel.point(Routine::kNone);
      EXPECT_FALSE(gone);
      ExReleaseRundownProtection(&reference);
    }
  };
  const auto owner = [&] {
    ExWaitForRundownProtectionRelease(&reference);
    gone = true;
    EXPECT_FALSE(ExAcquireRundownProtection(&reference));
  };
  const Contention seen = pair(
      [&] {
        ExInitializeRundownProtection(&reference);
        gone = false;
      },
      user, owner);
  EXPECT_GT(seen.blocked, 0);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
  EXPECT_GT(acquired, 0);
  EXPECT_LT(acquired, kSchedules);
}

// The owner frees the reference as soon as its wait is over; a release must not touch it after that.
TEST_F(RundownTest, AReleaseMayBeTheLastThingThatTouchesTheMemory) {
  struct Shared {
    EX_RUNDOWN_REF reference;
  };
  Shared* shared = nullptr;
  const auto user = [&] { ExReleaseRundownProtection(&shared->reference); };
  const auto owner = [&] {
    ExWaitForRundownProtectionRelease(&shared->reference);
    ExFreePool(shared);
  };
  const Contention seen = pair(
      [&] {
        shared = static_cast<Shared*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(Shared), kTag));
        ExAcquireRundownProtection(&shared->reference);
      },
      user, owner);
  EXPECT_GT(seen.blocked, 0);
  EXPECT_EQ(seen.deadlocks + seen.others, 0);
}

TEST_F(RundownTest, AWaitByTheOnlyHolderNeverEnds) {
  EX_RUNDOWN_REF reference{};
  EXPECT_EQ(run(0,
                [&] {
                  ExAcquireRundownProtection(&reference);
                  ExWaitForRundownProtectionRelease(&reference);
                }),
            schedule::EndReason::kDeadlock);
}

TEST_F(RundownTest, AWaitThatBlocksWritesCallAndReturn) {
  EX_RUNDOWN_REF reference{};
  begin(0);
  ExAcquireRundownProtection(&reference);
  const auto owner = [&] { ExWaitForRundownProtectionRelease(&reference); };
  const auto user = [&] {
    while (events(EventKind::kBlock).empty()) {
      YieldProcessor();
    }
    ExReleaseRundownProtection(&reference);
  };
  start(owner);
  start(user);
  EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
  const auto calls = events(EventKind::kCall, Routine::ExWaitForRundownProtectionRelease);
  ASSERT_EQ(calls.size(), 1U);
  EXPECT_EQ(static_cast<std::int32_t>(calls[0].status), kStatusPending);
  EXPECT_EQ(events(EventKind::kReturn, Routine::ExWaitForRundownProtectionRelease).size(), 1U);
}

TEST_F(RundownTest, States) {
  expect({}, [](PEX_RUNDOWN_REF reference) {
    // Zero-filled memory is as good as initialised.
    EXPECT_TRUE(ExAcquireRundownProtection(reference));
    EXPECT_TRUE(ExAcquireRundownProtectionEx(reference, 3));
    ExReleaseRundownProtectionEx(reference, 2);
    ExReleaseRundownProtectionEx(reference, 2);
    ExWaitForRundownProtectionRelease(reference);
    EXPECT_FALSE(ExAcquireRundownProtection(reference));
    ExWaitForRundownProtectionRelease(reference);
    ExRundownCompleted(reference);
    EXPECT_FALSE(ExAcquireRundownProtectionEx(reference, 2));
    ExWaitForRundownProtectionRelease(reference);
    ExReInitializeRundownProtection(reference);
    EXPECT_TRUE(ExAcquireRundownProtection(reference));
    ExReleaseRundownProtection(reference);
    ExInitializeRundownProtection(reference);
    EXPECT_TRUE(ExAcquireRundownProtection(reference));
    ExReleaseRundownProtection(reference);
  });
}

TEST_F(RundownTest, Breaches) {
  expect({Outcome::kRundownUnderflow}, [](PEX_RUNDOWN_REF reference) { ExReleaseRundownProtection(reference); });
  expect({Outcome::kRundownUnderflow}, [](PEX_RUNDOWN_REF reference) {
    ExAcquireRundownProtectionEx(reference, 2);
    ExReleaseRundownProtectionEx(reference, 3);
  });
  expect({Outcome::kRundownFreedWhileHeld}, [](PEX_RUNDOWN_REF reference) {
    ExAcquireRundownProtection(reference);
    ExInitializeRundownProtection(reference);
  });
  expect({Outcome::kRundownFreedWhileHeld}, [](PEX_RUNDOWN_REF reference) {
    ExAcquireRundownProtection(reference);
    ExReInitializeRundownProtection(reference);
  });
  expect({Outcome::kRundownFreedWhileHeld}, [](PEX_RUNDOWN_REF reference) {
    ExAcquireRundownProtection(reference);
    ExRundownCompleted(reference);
  });
  expect({Outcome::kRundownFreedWhileHeld}, [](PEX_RUNDOWN_REF) {
    auto* const pooled =
        static_cast<PEX_RUNDOWN_REF>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(EX_RUNDOWN_REF), kTag));
    ExAcquireRundownProtection(pooled);
    ExFreePool(pooled);
  });
  expect({Outcome::kBadArgumentValue}, [](PEX_RUNDOWN_REF reference) { ExReInitializeRundownProtection(reference); });
  expect({Outcome::kBadArgumentValue}, [](PEX_RUNDOWN_REF reference) { ExRundownCompleted(reference); });
  expect({Outcome::kBadArgumentValue}, [](PEX_RUNDOWN_REF reference) {
    ExAcquireRundownProtection(reference);
    ExAcquireRundownProtectionEx(reference, MAXLONG);
  });
  expect({Outcome::kUninitializedObject}, [](PEX_RUNDOWN_REF reference) {
    reference->Count = 0xa5a5a5a5a5a5a5a5;
    ExAcquireRundownProtection(reference);
  });
  expect({Outcome::kNullArgument}, [](PEX_RUNDOWN_REF) { ExAcquireRundownProtection(nullptr); });
}

TEST_F(RundownTest, OnlyAcquireAndReleaseAreForDispatchLevel) {
  expect(
      {},
      [](PEX_RUNDOWN_REF reference) {
        ExAcquireRundownProtection(reference);
        ExReleaseRundownProtection(reference);
      },
      kDispatchLevel);
  expect(
      {Outcome::kIrqlTooHigh, Outcome::kIrqlTooHigh, Outcome::kIrqlTooHigh, Outcome::kIrqlTooHigh},
      [](PEX_RUNDOWN_REF reference) {
        ExInitializeRundownProtection(reference);
        ExWaitForRundownProtectionRelease(reference);
        ExRundownCompleted(reference);
        ExReInitializeRundownProtection(reference);
      },
      kDispatchLevel);
}

TEST_F(RundownTest, CacheAwareLivesInThePool) {
  EXPECT_EQ(outcomes_of([&] {
              const auto reference = ExAllocateCacheAwareRundownProtection(NonPagedPoolNx, kTag);
              ASSERT_NE(reference, nullptr);
              const std::uint32_t block = kernel.pool().block_at(reference);
              EXPECT_EQ(kernel.pool().block(block).module, kModule);
              EXPECT_EQ(kernel.pool().block(block).tag, kTag);
              EXPECT_TRUE(ExAcquireRundownProtectionCacheAware(reference));
              EXPECT_TRUE(ExAcquireRundownProtectionCacheAwareEx(reference, 2));
              ExReleaseRundownProtectionCacheAwareEx(reference, 2);
              ExReleaseRundownProtectionCacheAware(reference);
              ExWaitForRundownProtectionReleaseCacheAware(reference);
              EXPECT_FALSE(ExAcquireRundownProtectionCacheAware(reference));
              ExRundownCompletedCacheAware(reference);
              ExReInitializeRundownProtectionCacheAware(reference);
              EXPECT_TRUE(ExAcquireRundownProtectionCacheAware(reference));
              ExReleaseRundownProtectionCacheAware(reference);
              ExFreeCacheAwareRundownProtection(reference);
              EXPECT_FALSE(kernel.pool().block(block).live);
            }),
            std::vector<Outcome>{});
}

TEST_F(RundownTest, CacheAwareBreaches) {
  EXPECT_EQ(outcomes_of([] {
              const auto reference = ExAllocateCacheAwareRundownProtection(NonPagedPool, kTag);
              ExAcquireRundownProtectionCacheAware(reference);
              ExFreeCacheAwareRundownProtection(reference);
            }),
            std::vector{Outcome::kRundownFreedWhileHeld});
  EXPECT_EQ(outcomes_of([] {
              const auto reference = ExAllocateCacheAwareRundownProtection(NonPagedPool, kTag);
              ExReleaseRundownProtectionCacheAware(reference);
              ExFreeCacheAwareRundownProtection(reference);
              ExFreeCacheAwareRundownProtection(reference);
            }),
            (std::vector{Outcome::kRundownUnderflow, Outcome::kFreedAccess}));
}

TEST_F(RundownTest, CacheAwareInMemoryOfTheDriversOwn) {
  EXPECT_EQ(outcomes_of([] {
              const SIZE_T bytes = ExSizeOfRundownProtectionCacheAware();
              auto* const reference =
                  static_cast<PEX_RUNDOWN_REF_CACHE_AWARE>(ExAllocatePoolUninitialized(NonPagedPoolNx, bytes, kTag));
              ExInitializeRundownProtectionCacheAware(reference, bytes);
              EXPECT_TRUE(ExAcquireRundownProtectionCacheAware(reference));
              ExReleaseRundownProtectionCacheAware(reference);
              ExWaitForRundownProtectionReleaseCacheAware(reference);
              ExFreePool(reference);
            }),
            std::vector<Outcome>{});
  EX_RUNDOWN_REF_CACHE_AWARE reference{};
  EXPECT_EQ(outcomes_of([&] {
              ExInitializeRundownProtectionCacheAware(&reference, 1);
              ExAcquireRundownProtectionCacheAware(&reference);
            }),
            (std::vector{Outcome::kBadArgumentValue, Outcome::kUninitializedObject}));
}

TEST_F(RundownTest, CacheAwareAllocationFailsWhenDecided) {
  options.faults = true;
  int failed = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    run(seed, [&] { failed += ExAllocateCacheAwareRundownProtection(NonPagedPool, kTag) == nullptr ? 1 : 0; });
  }
  EXPECT_GT(failed, 0);
  EXPECT_LT(failed, 100);
}

}  // namespace
}  // namespace nmrfuzz::kernel
