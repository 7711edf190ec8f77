#include "kernel/pool_routines.h"

#include <gmock/gmock.h>
#include <ntddk.h>

#include <algorithm>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using trace::EventKind;

constexpr ULONG kTag = 0x74736554;  // "Test"

class PoolRoutinesTest : public KernelFixture {};

bool all_bytes(const void* memory, std::size_t bytes, unsigned char value) {
  const auto* const first = static_cast<const unsigned char*>(memory);
  return std::all_of(first, first + bytes, [value](unsigned char byte) { return byte == value; });
}

TEST_F(PoolRoutinesTest, ContentsAndTypeAreAsTheRoutinePromises) {
  constexpr std::size_t kBytes = 40;
  struct Case {
    const char* name;
    void* (*allocate)();
    unsigned char fill;
    PoolType type;
  };
  const Case cases[] = {
      {"2", [] { return ExAllocatePool2(POOL_FLAG_NON_PAGED, kBytes, kTag); }, 0, PoolType::kNonPaged},
      {"2 execute", [] { return ExAllocatePool2(POOL_FLAG_NON_PAGED_EXECUTE, kBytes, kTag); }, 0, PoolType::kNonPaged},
      {"2 paged", [] { return ExAllocatePool2(POOL_FLAG_PAGED, kBytes, kTag); }, 0, PoolType::kPaged},
      {"2 uninitialized", [] { return ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED, kBytes, kTag); },
       Pool::kUninitialized, PoolType::kNonPaged},
      {"with tag", [] { return ExAllocatePoolWithTag(NonPagedPoolNx, kBytes, kTag); }, Pool::kUninitialized,
       PoolType::kNonPaged},
      {"zero", [] { return ExAllocatePoolZero(PagedPool, kBytes, kTag); }, 0, PoolType::kPaged},
      {"uninitialized", [] { return ExAllocatePoolUninitialized(NonPagedPool, kBytes, kTag); }, Pool::kUninitialized,
       PoolType::kNonPaged},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_THAT(outcomes_of([&] {
                  void* const memory = test.allocate();
                  ASSERT_NE(memory, nullptr);
                  EXPECT_TRUE(all_bytes(memory, kBytes, test.fill));
                  const Block& block = kernel.pool().block(kernel.pool().block_at(memory));
                  EXPECT_EQ(block.type, test.type);
                  EXPECT_EQ(block.size, kBytes);
                  EXPECT_EQ(block.tag, kTag);
                  EXPECT_EQ(block.module, kModule);
                  ExFreePool(memory);
                }),
                IsEmpty());
  }
}

TEST_F(PoolRoutinesTest, EventsCarryBlockBytesAndTagAndTheLedgerTheirNumbers) {
  run(0, [] { ExFreePoolWithTag(ExAllocatePool2(POOL_FLAG_NON_PAGED, 24, kTag), kTag); });
  const auto allocated = events(EventKind::kAllocate, Routine::ExAllocatePool2);
  const auto freed = events(EventKind::kFree, Routine::ExFreePoolWithTag);
  ASSERT_EQ(allocated.size(), 1U);
  ASSERT_EQ(freed.size(), 1U);
  EXPECT_EQ(allocated[0].object, 1U);
  EXPECT_EQ(allocated[0].a, 24U);
  EXPECT_EQ(allocated[0].b, kTag);
  EXPECT_EQ(allocated[0].module, kModule);
  EXPECT_EQ(freed[0].object, 1U);
  const Block& block = kernel.pool().block(1);
  EXPECT_EQ(recorder.at(block.allocated_at).kind, EventKind::kAllocate);
  EXPECT_EQ(recorder.at(block.freed_at).kind, EventKind::kFree);
}

TEST_F(PoolRoutinesTest, BreachesOfThePoolsProtocol) {
  struct Case {
    const char* name;
    void (*body)();
    Outcome expected;
  };
  const Case cases[] = {
      {"null", [] { ExFreePool(nullptr); }, Outcome::kNullArgument},
      {"not pool",
       [] {
         int local = 0;
         ExFreePool(&local);
       },
       Outcome::kBadFree},
      {"inside a block", [] { ExFreePool(static_cast<char*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, kTag)) + 16); },
       Outcome::kBadFree},
      {"twice",
       [] {
         void* const memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, kTag);
         ExFreePool(memory);
         ExFreePool(memory);
       },
       Outcome::kDoubleFree},
      {"other tag", [] { ExFreePoolWithTag(ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, kTag), kTag + 1); },
       Outcome::kWrongTag},
      {"no tag given", [] { ExAllocatePoolWithTag(NonPagedPool, 64, 0); }, Outcome::kBadArgumentValue},
      {"no tag given to 2", [] { ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 0); }, Outcome::kBadArgumentValue},
      {"no type", [] { ExAllocatePool2(POOL_FLAG_UNINITIALIZED, 64, kTag); }, Outcome::kBadArgumentValue},
      {"two types", [] { ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_PAGED, 64, kTag); },
       Outcome::kBadArgumentValue},
      {"no bytes", [] { ExAllocatePool2(POOL_FLAG_NON_PAGED, 0, kTag); }, Outcome::kBadArgumentValue},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_THAT(outcomes_of(test.body), ElementsAre(test.expected));
  }
}

TEST_F(PoolRoutinesTest, PagedPoolWantsApcLevelNonPagedDispatchLevel) {
  const auto paged = [] { ExAllocatePool2(POOL_FLAG_PAGED, 8, kTag); };
  const auto non_paged = [] { ExFreePool(ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, kTag)); };
  EXPECT_THAT(outcomes_of(paged, kApcLevel), IsEmpty());
  EXPECT_THAT(outcomes_of(paged, kDispatchLevel), ElementsAre(Outcome::kIrqlTooHigh));
  EXPECT_THAT(outcomes_of(non_paged, kDispatchLevel), IsEmpty());
  EXPECT_THAT(outcomes_of(non_paged, kDispatchLevel + 1), ElementsAre(Outcome::kIrqlTooHigh, Outcome::kIrqlTooHigh));
  EXPECT_THAT(outcomes_of([] {
                void* const memory = ExAllocatePool2(POOL_FLAG_PAGED, 8, kTag);
                KIRQL old = KeRaiseIrqlToDpcLevel();
                ExFreePool(memory);
                KeLowerIrql(old);
              }),
              ElementsAre(Outcome::kIrqlTooHigh));
}

// Writes where the sanitizer build would not let us.
[[gnu::no_sanitize_address]] void scribble(void* address, int offset) {
  static_cast<volatile char*>(address)[offset] = 1;
}

TEST_F(PoolRoutinesTest, OverwrittenRedZonesShowAtTheFree) {
  for (const int offset : {-1, 20}) {
    SCOPED_TRACE(offset);
    EXPECT_THAT(outcomes_of([&] {
                  void* const memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 20, kTag);
                  scribble(memory, offset);
                  ExFreePool(memory);
                }),
                ElementsAre(Outcome::kOverflow));
  }
}

TEST_F(PoolRoutinesTest, FreeingDestroysTheObjectsInTheBlock) {
  struct Objects {
    KEVENT event;
    KSPIN_LOCK lock;
  };
  EXPECT_THAT(outcomes_of([&] {
                auto* const objects =
                    static_cast<Objects*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(Objects), kTag));
                KeInitializeEvent(&objects->event, NotificationEvent, FALSE);
                KeInitializeSpinLock(&objects->lock);
                ExFreePool(objects);
                for (ObjectNumber number = 1; number < kernel.objects().limit(); ++number) {
                  EXPECT_EQ(kernel.objects().at(number).kind, ObjectKind::kNone);
                }
              }),
              IsEmpty());
  EXPECT_THAT(outcomes_of([&] {
                auto* const objects =
                    static_cast<Objects*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(Objects), kTag));
                KeInitializeSpinLock(&objects->lock);
                KeAcquireSpinLockRaiseToDpc(&objects->lock);
                ExFreePool(objects);
                kernel.thread_state().locks_held = 0;
                KeLowerIrql(kPassiveLevel);
              }),
              ElementsAre(Outcome::kLockFreedWhileHeld));
}

TEST_F(PoolRoutinesTest, ABlockOfTheKernelIsNotTheModulesToFree) {
  EXPECT_THAT(outcomes_of([&] {
                const std::uint32_t block = kernel.pool().allocate(8, 0, PoolType::kNonPaged, true, 0, 0);
                ExFreePool(kernel.pool().address(block));
              }),
              ElementsAre(Outcome::kBadFree));
}

TEST_F(PoolRoutinesTest, FailsWhenDecidedAndOnlyThen) {
  options.faults = true;
  int failed = 0;
  constexpr int kSchedules = 200;
  for (int seed = 0; seed < kSchedules; ++seed) {
    void* memory = nullptr;
    run(static_cast<std::uint64_t>(seed), [&] { memory = ExAllocatePoolZero(NonPagedPool, 8, kTag); });
    const auto allocated = events(EventKind::kAllocate);
    ASSERT_EQ(allocated.size(), 1U);
    EXPECT_EQ(allocated[0].outcome, memory == nullptr ? Outcome::kInjected : Outcome::kOk);
    EXPECT_EQ(allocated[0].object == 0, memory == nullptr);
    EXPECT_THAT(events(EventKind::kBugCheck), IsEmpty());
    failed += memory == nullptr ? 1 : 0;
  }
  EXPECT_GT(failed, 0);
  EXPECT_LT(failed, kSchedules / 2);
}

TEST_F(PoolRoutinesTest, AFailureThatRaisesIsABugCheck) {
  const auto bug_checks_after = [&](auto body) {
    run(0, body);
    return events(EventKind::kBugCheck).size();
  };
  constexpr SIZE_T kTooMuch = Pool::kArenaBytes;
  EXPECT_EQ(bug_checks_after([] { ExAllocatePool2(POOL_FLAG_NON_PAGED, kTooMuch, kTag); }), 0U);
  EXPECT_EQ(bug_checks_after([] { ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_RAISE_ON_FAILURE, kTooMuch, kTag); }),
            1U);
  EXPECT_EQ(bug_checks_after([] {
              constexpr unsigned kType = NonPagedPool | POOL_RAISE_IF_ALLOCATION_FAILURE;
              ExAllocatePoolWithTag(static_cast<POOL_TYPE>(kType), kTooMuch, kTag);
            }),
            1U);
  EXPECT_EQ(events(EventKind::kBugCheck)[0].a, std::uint64_t{KMODE_EXCEPTION_NOT_HANDLED});
}

}  // namespace
}  // namespace nmrfuzz::kernel
