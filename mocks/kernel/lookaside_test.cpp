#include <ntddk.h>

#include <vector>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr ULONG kTag = 0x74736554;  // "Test"
constexpr SIZE_T kBytes = 48;

struct Calls {
  int allocated = 0;
  int freed = 0;
  unsigned type = 0;
  void* list = nullptr;
};
Calls calls;

PVOID NTAPI allocate_with_list(POOL_TYPE type, SIZE_T bytes, ULONG tag, PLOOKASIDE_LIST_EX list) {
  ++calls.allocated;
  calls.type = type;
  calls.list = list;
  return ExAllocatePoolWithTag(type, bytes, tag);
}

void NTAPI free_with_list(PVOID entry, PLOOKASIDE_LIST_EX list) {
  ++calls.freed;
  calls.list = list;
  ExFreePool(entry);
}

PVOID NTAPI allocate_plain(POOL_TYPE type, SIZE_T bytes, ULONG) {
  ++calls.allocated;
  calls.type = type;
  return ExAllocatePoolWithTag(type, bytes, kTag + 1);
}

void NTAPI free_plain(PVOID entry) {
  ++calls.freed;
  ExFreePool(entry);
}

class LookasideTest : public KernelFixture {
 protected:
  LookasideTest() { calls = {}; }
  std::uint32_t live_blocks() {
    std::uint32_t live = 0;
    for (std::uint32_t number = 1; number <= kernel.pool().count(); ++number) {
      live += kernel.pool().block(number).live ? 1 : 0;
    }
    return live;
  }
};

TEST_F(LookasideTest, EntriesComeFromThePoolAndGoBackAtOnce) {
  LOOKASIDE_LIST_EX list{};
  EXPECT_EQ(outcomes_of([&] {
              EXPECT_EQ(ExInitializeLookasideListEx(&list, nullptr, nullptr, NonPagedPoolNx, 0, kBytes, kTag, 0),
                        kStatusSuccess);
              void* const entry = ExAllocateFromLookasideListEx(&list);
              ASSERT_NE(entry, nullptr);
              const Block& block = kernel.pool().block(kernel.pool().block_at(entry));
              EXPECT_EQ(block.size, kBytes);
              EXPECT_EQ(block.tag, kTag);
              EXPECT_EQ(block.type, PoolType::kNonPaged);
              EXPECT_EQ(kernel.objects().at(list.ObjectNumber).count, 1);
              ExFreeToLookasideListEx(&list, entry);
              EXPECT_EQ(kernel.objects().at(list.ObjectNumber).count, 0);
              EXPECT_EQ(live_blocks(), 0U);
              EXPECT_NE(ExAllocateFromLookasideListEx(&list), entry);
              ExFlushLookasideListEx(&list);
              ExDeleteLookasideListEx(&list);
              EXPECT_EQ(live_blocks(), 1U);
            }),
            std::vector<Outcome>{});
}

TEST_F(LookasideTest, TheDriversOwnRoutinesAreCalled) {
  LOOKASIDE_LIST_EX list{};
  EXPECT_EQ(outcomes_of([&] {
              ExInitializeLookasideListEx(&list, allocate_with_list, free_with_list, PagedPool,
                                          EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL, kBytes, kTag, 0);
              void* const entry = ExAllocateFromLookasideListEx(&list);
              EXPECT_EQ(calls.allocated, 1);
              EXPECT_EQ(calls.type, unsigned{PagedPool} | POOL_RAISE_IF_ALLOCATION_FAILURE);
              EXPECT_EQ(calls.list, &list);
              ExFreeToLookasideListEx(&list, entry);
              EXPECT_EQ(calls.freed, 1);
              EXPECT_EQ(live_blocks(), 0U);
              ExDeleteLookasideListEx(&list);
            }),
            std::vector<Outcome>{});
}

TEST_F(LookasideTest, OldKinds) {
  NPAGED_LOOKASIDE_LIST non_paged{};
  PAGED_LOOKASIDE_LIST paged{};
  EXPECT_EQ(outcomes_of([&] {
              ExInitializeNPagedLookasideList(&non_paged, allocate_plain, nullptr, POOL_NX_ALLOCATION, kBytes, kTag, 0);
              ExInitializePagedLookasideList(&paged, nullptr, free_plain, 0, kBytes, kTag, 0);
              void* const first = ExAllocateFromNPagedLookasideList(&non_paged);
              void* const second = ExAllocateFromPagedLookasideList(&paged);
              EXPECT_EQ(calls.allocated, 1);
              EXPECT_EQ(calls.type, unsigned{NonPagedPoolNx});
              EXPECT_EQ(kernel.pool().block(kernel.pool().block_at(second)).type, PoolType::kPaged);
              // The tag is the driver's own, not the list's.
              ExFreeToNPagedLookasideList(&non_paged, first);
              ExFreeToPagedLookasideList(&paged, second);
              EXPECT_EQ(calls.freed, 1);
              EXPECT_EQ(live_blocks(), 0U);
              ExDeleteNPagedLookasideList(&non_paged);
              ExDeletePagedLookasideList(&paged);
            }),
            std::vector<Outcome>{});
}

TEST_F(LookasideTest, InvalidParameters) {
  LOOKASIDE_LIST_EX list{};
  begin(0);
  EXPECT_EQ(ExInitializeLookasideListEx(&list, nullptr, nullptr, DontUseThisType, 0, kBytes, kTag, 0),
            STATUS_INVALID_PARAMETER_4);
  EXPECT_EQ(ExInitializeLookasideListEx(&list, nullptr, nullptr, NonPagedPool, 3, kBytes, kTag, 0),
            STATUS_INVALID_PARAMETER_5);
  EXPECT_TRUE(breaches().empty());
}

TEST_F(LookasideTest, Breaches) {
  struct Case {
    const char* name;
    void (*body)(PLOOKASIDE_LIST_EX list);
    std::uint8_t irql;
    std::vector<Outcome> expected;
  };
  const Case cases[] = {
      {"deleted",
       [](PLOOKASIDE_LIST_EX list) {
         ExDeleteLookasideListEx(list);
         ExAllocateFromLookasideListEx(list);
       },
       kPassiveLevel,
       {Outcome::kUninitializedObject}},
      {"deleted twice",
       [](PLOOKASIDE_LIST_EX list) {
         ExDeleteLookasideListEx(list);
         ExDeleteLookasideListEx(list);
       },
       kPassiveLevel,
       {Outcome::kUninitializedObject}},
      {"never initialised",
       [](PLOOKASIDE_LIST_EX list) {
         *list = {};
         ExFreeToLookasideListEx(list, nullptr);
       },
       kPassiveLevel,
       {Outcome::kUninitializedObject}},
      {"entry freed twice",
       [](PLOOKASIDE_LIST_EX list) {
         void* const entry = ExAllocateFromLookasideListEx(list);
         ExFreeToLookasideListEx(list, entry);
         ExFreeToLookasideListEx(list, entry);
       },
       kPassiveLevel,
       {Outcome::kDoubleFree}},
      {"null",
       [](PLOOKASIDE_LIST_EX) { ExAllocateFromLookasideListEx(nullptr); },
       kPassiveLevel,
       {Outcome::kNullArgument}},
      {"another list's entry",
       [](PLOOKASIDE_LIST_EX list) {
         ExFreeToLookasideListEx(list, ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, kTag + 1));
       },
       kPassiveLevel,
       {Outcome::kWrongTag}},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    LOOKASIDE_LIST_EX list{};
    EXPECT_EQ(outcomes_of(
                  [&] {
                    ExInitializeLookasideListEx(&list, nullptr, nullptr, NonPagedPool, 0, kBytes, kTag, 0);
                    test.body(&list);
                  },
                  test.irql),
              test.expected);
  }
}

PVOID NTAPI allocate_nothing(POOL_TYPE, SIZE_T, ULONG, PLOOKASIDE_LIST_EX) { return nullptr; }

TEST_F(LookasideTest, PagedEntriesAreNotForDispatchLevel) {
  LOOKASIDE_LIST_EX list{};
  const auto use = [&](POOL_TYPE type) {
    return outcomes_of(
        [&] {
          ExInitializeLookasideListEx(&list, allocate_nothing, nullptr, type, 0, kBytes, kTag, 0);
          EXPECT_EQ(ExAllocateFromLookasideListEx(&list), nullptr);
        },
        kDispatchLevel);
  };
  EXPECT_EQ(use(NonPagedPool), std::vector<Outcome>{});
  EXPECT_EQ(use(PagedPool), std::vector{Outcome::kIrqlTooHigh});
}

TEST_F(LookasideTest, ItsMemoryMayNotGoBeforeItIsDeleted) {
  EXPECT_EQ(outcomes_of([] {
              auto* const list = static_cast<PLOOKASIDE_LIST_EX>(
                  ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(LOOKASIDE_LIST_EX), kTag));
              ExInitializeLookasideListEx(list, nullptr, nullptr, NonPagedPool, 0, kBytes, kTag, 0);
              ExFreePool(list);
            }),
            std::vector{Outcome::kFreedWhileInUse});
}

TEST_F(LookasideTest, AllocationFailsWhenDecided) {
  options.faults = true;
  LOOKASIDE_LIST_EX list{};
  int failed = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    run(seed, [&] {
      ExInitializeLookasideListEx(&list, nullptr, nullptr, NonPagedPool, 0, kBytes, kTag, 0);
      const bool refused = ExAllocateFromLookasideListEx(&list) == nullptr;
      failed += refused ? 1 : 0;
      EXPECT_EQ(kernel.objects().at(list.ObjectNumber).count, refused ? 0 : 1);
    });
  }
  EXPECT_GT(failed, 0);
  EXPECT_LT(failed, 100);
}

}  // namespace
}  // namespace nmrfuzz::kernel
