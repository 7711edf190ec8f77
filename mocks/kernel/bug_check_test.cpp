#include <ntddk.h>

#include "kernel/kernel_fixture.h"

namespace nmrfuzz::kernel {
namespace {

struct Stop {
  const char* name;
  void (*act)();
  Routine routine;
  std::uint64_t code;
  std::uint64_t parameter;
};

class BugCheckTest : public KernelFixture, public ::testing::WithParamInterface<Stop> {};

TEST_P(BugCheckTest, EndsTheExecution) {
  bool went_on = false;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(run(1,
                  [&] {
                    GetParam().act();
                    went_on = true;
                  }),
              schedule::EndReason::kStopped);
  }
  EXPECT_FALSE(went_on);
  const auto stops = events(trace::EventKind::kBugCheck, GetParam().routine);
  ASSERT_EQ(stops.size(), 1U);
  EXPECT_EQ(stops[0].a, GetParam().code);
  EXPECT_EQ(stops[0].b, GetParam().parameter);
  EXPECT_EQ(stops[0].module, kModule);
}

INSTANTIATE_TEST_SUITE_P(All, BugCheckTest,
                         ::testing::Values(Stop{"plain", [] { KeBugCheck(0xE2); }, Routine::KeBugCheck, 0xE2, 0},
                                           Stop{"extended", [] { KeBugCheckEx(0xDEAD, 0x12345678, 2, 3, 4); },
                                                Routine::KeBugCheckEx, 0xDEAD, 1},
                                           Stop{"assertion", [] { RtlAssert(nullptr, nullptr, 77, nullptr); },
                                                Routine::RtlAssert, 0xC0000420, 77},
                                           Stop{"fast_fail", [] { NmrfuzzFastFail(FAST_FAIL_CORRUPT_LIST_ENTRY); },
                                                Routine::FastFail, 0x139, FAST_FAIL_CORRUPT_LIST_ENTRY},
                                           Stop{"break_point", [] { DbgBreakPoint(); }, Routine::DbgBreakPoint,
                                                0x80000003, 0}),
                         [](const auto& info) { return info.param.name; });

using DebugTest = KernelFixture;

TEST_F(DebugTest, PagedCodeIsForLevelsUpToApc) {
  for (const KIRQL level : {PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL}) {
    run(1, [&] {
      const KIRQL old = KfRaiseIrql(level);
      NmrfuzzPagedCode("file.c", 5);
      KeLowerIrql(old);
    });
    EXPECT_EQ(outcomes(),
              level <= APC_LEVEL ? std::vector<Outcome>{} : std::vector<Outcome>{Outcome::kPagedAtRaisedIrql});
  }
}

TEST_F(DebugTest, OutputIsAnEventAndNothingElse) {
  run(1, [&] {
    EXPECT_EQ(DbgPrint("%s", "text"), 0U);
    EXPECT_EQ(DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "%d", 1), 0U);
  });
  EXPECT_EQ(events(trace::EventKind::kCall, Routine::DbgPrint).size(), 2U);
}

}  // namespace
}  // namespace nmrfuzz::kernel
