#include <ntddk.h>

#include <limits>
#include <set>
#include <vector>

#include "kernel/kernel_fixture.h"

namespace nmrfuzz::kernel {
namespace {

using trace::EventKind;

constexpr std::uint64_t kSchedules = 300;
constexpr ULONG kTag = 0x74736554;  // "Test"

class InterlockedTest : public KernelFixture {};

TEST_F(InterlockedTest, OldAndNewValues) {
  begin(0);
  LONG value = 5;
  EXPECT_EQ(InterlockedIncrement(&value), 6);
  EXPECT_EQ(InterlockedDecrement(&value), 5);
  EXPECT_EQ(InterlockedExchange(&value, 9), 5);
  EXPECT_EQ(InterlockedCompareExchange(&value, 1, 8), 9);
  EXPECT_EQ(value, 9);
  EXPECT_EQ(InterlockedCompareExchange(&value, 0xc, 9), 9);
  EXPECT_EQ(InterlockedAnd(&value, 0x6), 0xc);
  EXPECT_EQ(InterlockedOr(&value, 0x1), 0x4);
  EXPECT_EQ(InterlockedXor(&value, 0x7), 0x5);
  EXPECT_EQ(InterlockedExchangeAdd(&value, 10), 0x2);
  EXPECT_EQ(InterlockedAdd(&value, -2), 10);
  EXPECT_FALSE(InterlockedBitTestAndSet(&value, 0));
  EXPECT_TRUE(InterlockedBitTestAndReset(&value, 0));
  EXPECT_EQ(value, 10);
  EXPECT_TRUE(breaches().empty());
}

TEST_F(InterlockedTest, EveryWidthKeepsToItsOwn) {
  begin(0);
  SHORT shorts[] = {1, -1, 1};
  EXPECT_EQ(InterlockedIncrement16(&shorts[1]), 0);
  EXPECT_EQ(InterlockedDecrement16(&shorts[1]), -1);
  EXPECT_EQ(InterlockedExchange16(&shorts[1], 7), -1);
  EXPECT_EQ(shorts[0], 1);
  EXPECT_EQ(shorts[2], 1);
  CHAR chars[] = {1, 2, 3};
  EXPECT_EQ(InterlockedExchange8(&chars[1], 9), 2);
  EXPECT_EQ(InterlockedCompareExchange8(&chars[1], 4, 9), 9);
  EXPECT_EQ(chars[0], 1);
  EXPECT_EQ(chars[1], 4);
  EXPECT_EQ(chars[2], 3);
  LONG64 wide = std::numeric_limits<LONG64>::max();
  EXPECT_EQ(InterlockedIncrement64(&wide), std::numeric_limits<LONG64>::min());
  EXPECT_EQ(InterlockedExchange64(&wide, LONG64{1} << 40), std::numeric_limits<LONG64>::min());
  EXPECT_EQ(InterlockedDecrement64(&wide), (LONG64{1} << 40) - 1);
  PVOID pointer = &wide;
  EXPECT_EQ(InterlockedExchangePointer(&pointer, &chars), &wide);
  EXPECT_EQ(InterlockedCompareExchangePointer(&pointer, nullptr, &wide), &chars);
  EXPECT_EQ(InterlockedCompareExchangePointer(&pointer, nullptr, &chars), &chars);
  EXPECT_EQ(pointer, nullptr);
}

TEST_F(InterlockedTest, OrderedReadsAndWrites) {
  begin(0);
  LONG value = 0;
  WriteRelease(&value, 3);
  EXPECT_EQ(ReadAcquire(&value), 3);
  WriteNoFence(&value, -4);
  EXPECT_EQ(ReadNoFence(&value), -4);
  LONG64 wide = 0;
  WriteRelease64(&wide, LONG64{1} << 33);
  EXPECT_EQ(ReadAcquire64(&wide), LONG64{1} << 33);
  CHAR narrow = 0;
  WriteNoFence8(&narrow, 'x');
  EXPECT_EQ(ReadNoFence8(&narrow), 'x');
  SHORT medium = 0;
  WriteRelease16(&medium, -2);
  EXPECT_EQ(ReadAcquire16(&medium), -2);
  PVOID pointer = nullptr;
  WritePointerRelease(&pointer, &value);
  EXPECT_EQ(ReadPointerAcquire(&pointer), &value);
  ULONG unsigned_value = 0;
  WriteULongRelease(&unsigned_value, 0xffffffff);
  EXPECT_EQ(ReadULongNoFence(&unsigned_value), 0xffffffffU);
}

TEST_F(InterlockedTest, IncrementsAreAtomicReadsAndWritesAreNot) {
  LONG value = 0;
  std::set<LONG> sums;
  const auto atomic = [&] { InterlockedIncrement(&value); };
  const auto torn = [&] { WriteRelease(&value, ReadAcquire(&value) + 1); };
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    value = 0;
    run(seed, atomic, atomic, atomic);
    EXPECT_EQ(value, 3);
    value = 0;
    run(seed, torn, torn);
    sums.insert(value);
  }
  EXPECT_EQ(sums, (std::set<LONG>{1, 2}));
}

// After the count has gone down, whoever sees 0 may free the object before the others get any further.
TEST_F(InterlockedTest, OthersMayRunBeforeTheCallerGoesOn) {
  int others_first = 0;
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    LONG references = 2;
    bool freed = false;
    int first_thread_saw_it_freed = 0;
    const auto body = [&] {
      if (InterlockedDecrement(&references) == 0) {
        freed = true;
      } else if (freed) {
        ++first_thread_saw_it_freed;
      }
    };
    run(seed, body, body);
    EXPECT_TRUE(freed);
    others_first += first_thread_saw_it_freed;
  }
  EXPECT_GT(others_first, 0);
  EXPECT_LT(others_first, static_cast<int>(kSchedules));
}

TEST_F(InterlockedTest, EventsShowSmallValuesAndNeverAddresses) {
  LONG value = -7;
  LONG64 small = 12;
  auto address = reinterpret_cast<LONG64>(&value);
  PVOID pointer = &value;
  run(0, [&] {
    InterlockedIncrement(&value);
    InterlockedIncrement64(&small);
    InterlockedExchange64(&address, 0);
    InterlockedExchangePointer(&pointer, nullptr);
  });
  std::vector<std::int32_t> shown;
  for (const trace::Event& event : events(EventKind::kCall, Routine::InterlockedOperation)) {
    shown.push_back(static_cast<std::int32_t>(event.status));
    EXPECT_EQ(event.a, 0U);
    EXPECT_EQ(event.b, 0U);
  }
  EXPECT_EQ(shown, (std::vector{-7, 12, 0, 0}));
}

TEST_F(InterlockedTest, PointersAreChecked) {
  EXPECT_EQ(outcomes_of([] { EXPECT_EQ(InterlockedIncrement(nullptr), 1); }), std::vector{Outcome::kNullArgument});
  EXPECT_EQ(outcomes_of([] { ReadAcquire(nullptr); }), std::vector{Outcome::kNullArgument});
  EXPECT_EQ(outcomes_of([] {
              auto* const value = static_cast<LONG*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(LONG), kTag));
              WriteRelease(value + 1, 0);
              ExFreePool(value);
              InterlockedIncrement(value);
            }),
            (std::vector{Outcome::kOutOfBounds, Outcome::kFreedAccess}));
}

TEST_F(InterlockedTest, MemoryThatIsFreedJustBeforeTheOperationIsNoticed) {
  int noticed = 0;
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    begin(seed);
    auto* const value = static_cast<LONG*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(LONG), kTag));
    const auto user = [&] { InterlockedIncrement(value); };
    const auto owner = [&] { ExFreePool(value); };
    start(user);
    start(owner);
    finish();
    noticed += outcomes() == std::vector{Outcome::kFreedAccess} ? 1 : 0;
  }
  EXPECT_GT(noticed, 0);
  EXPECT_LT(noticed, static_cast<int>(kSchedules));
}

TEST_F(InterlockedTest, ASpinLoopThatYieldsEnds) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    LONG flag = 0;
    const auto waiter = [&] {
      while (ReadAcquire(&flag) == 0) {
        YieldProcessor();
      }
    };
    const auto setter = [&] {
      KeMemoryBarrier();
      WriteRelease(&flag, 1);
    };
    EXPECT_EQ(run(seed, waiter, setter), schedule::EndReason::kAllEnded);
  }
}

struct Item {
  SLIST_ENTRY link;
  int value;
};

TEST_F(InterlockedTest, SListIsAStack) {
  SLIST_HEADER head{};
  Item items[3] = {};
  EXPECT_EQ(outcomes_of([&] {
              InitializeSListHead(&head);
              EXPECT_EQ(InterlockedPopEntrySList(&head), nullptr);
              EXPECT_EQ(InterlockedPushEntrySList(&head, &items[0].link), nullptr);
              EXPECT_EQ(InterlockedPushEntrySList(&head, &items[1].link), &items[0].link);
              EXPECT_EQ(ExQueryDepthSList(&head), 2);
              EXPECT_EQ(InterlockedPopEntrySList(&head), &items[1].link);
              InterlockedPushEntrySList(&head, &items[2].link);
              EXPECT_EQ(InterlockedFlushSList(&head), &items[2].link);
              EXPECT_EQ(items[2].link.Next, &items[0].link);
              EXPECT_EQ(items[0].link.Next, nullptr);
              EXPECT_EQ(ExQueryDepthSList(&head), 0);
              EXPECT_EQ(InterlockedFlushSList(&head), nullptr);
            }),
            std::vector<Outcome>{});
}

TEST_F(InterlockedTest, SListLosesNothingUnderContention) {
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    SLIST_HEADER head{};
    Item items[2] = {{{}, 1}, {{}, 2}};
    int sum = 0;
    const auto producer = [&] {
      InterlockedPushEntrySList(&head, &items[0].link);
      InterlockedPushEntrySList(&head, &items[1].link);
    };
    const auto consumer = [&] {
      for (int taken = 0; taken < 2;) {
        const PSLIST_ENTRY entry = InterlockedPopEntrySList(&head);
        if (entry == nullptr) {
          YieldProcessor();
          continue;
        }
        sum += CONTAINING_RECORD(entry, Item, link)->value;
        ++taken;
      }
    };
    EXPECT_EQ(run(seed, producer, consumer), schedule::EndReason::kAllEnded);
    EXPECT_EQ(sum, 3);
  }
}

TEST_F(InterlockedTest, SListBreaches) {
  alignas(16) SLIST_HEADER heads[2] = {};
  EXPECT_EQ(outcomes_of([&] { InterlockedPushEntrySList(&heads[0], nullptr); }), std::vector{Outcome::kNullArgument});
  EXPECT_EQ(outcomes_of([] { InterlockedPopEntrySList(nullptr); }), std::vector{Outcome::kNullArgument});
  EXPECT_EQ(outcomes_of(
                [&] { InterlockedPopEntrySList(reinterpret_cast<PSLIST_HEADER>(reinterpret_cast<char*>(heads) + 8)); }),
            std::vector{Outcome::kBadArgumentValue});
  EXPECT_EQ(outcomes_of([&] { ExQueryDepthSList(&heads[0]); }, kDispatchLevel + 1), std::vector{Outcome::kIrqlTooHigh});
  EXPECT_EQ(outcomes_of([&] {
              auto* const item = static_cast<Item*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(Item), kTag));
              InterlockedPushEntrySList(&heads[1], &item->link);
              ExFreePool(item);
              InterlockedPopEntrySList(&heads[1]);
            }),
            std::vector{Outcome::kFreedAccess});
}

}  // namespace
}  // namespace nmrfuzz::kernel
