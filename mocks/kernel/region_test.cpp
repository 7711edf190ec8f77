#include <ntddk.h>

#include <vector>

#include "kernel/kernel_fixture.h"

namespace nmrfuzz::kernel {
namespace {

class RegionTest : public KernelFixture {};

TEST_F(RegionTest, NestAndTellWhichApcsAreOff) {
  EXPECT_EQ(outcomes_of([] {
              EXPECT_FALSE(KeAreApcsDisabled());
              KeEnterCriticalRegion();
              KeEnterCriticalRegion();
              KeLeaveCriticalRegion();
              EXPECT_TRUE(KeAreApcsDisabled());
              EXPECT_FALSE(KeAreAllApcsDisabled());
              KeLeaveCriticalRegion();
              EXPECT_FALSE(KeAreApcsDisabled());
              KeEnterGuardedRegion();
              EXPECT_TRUE(KeAreApcsDisabled());
              EXPECT_TRUE(KeAreAllApcsDisabled());
              KeLeaveGuardedRegion();
              EXPECT_FALSE(KeAreAllApcsDisabled());
              KIRQL old = KfRaiseIrql(APC_LEVEL);
              EXPECT_TRUE(KeAreAllApcsDisabled());
              KeLowerIrql(old);
            }),
            std::vector<Outcome>{});
}

TEST_F(RegionTest, Breaches) {
  struct Case {
    const char* name;
    void (*body)();
    std::uint8_t irql;
    Outcome expected;
  };
  const Case cases[] = {
      {"critical region not entered", [] { KeLeaveCriticalRegion(); }, kPassiveLevel, Outcome::kRegionUnbalanced},
      {"guarded region not entered", [] { KeLeaveGuardedRegion(); }, kPassiveLevel, Outcome::kRegionUnbalanced},
      {"the other kind left",
       [] {
         KeEnterCriticalRegion();
         KeLeaveGuardedRegion();
         KeLeaveCriticalRegion();
       },
       kPassiveLevel, Outcome::kRegionUnbalanced},
      {"critical region not left", [] { KeEnterCriticalRegion(); }, kPassiveLevel, Outcome::kRegionUnbalanced},
      {"guarded region not left", [] { KeEnterGuardedRegion(); }, kPassiveLevel, Outcome::kRegionUnbalanced},
      {"IRQL",
       [] {
         KeEnterCriticalRegion();
         current_kernel().set_irql(kApcLevel);
         KeLeaveCriticalRegion();
         current_kernel().set_irql(kDispatchLevel);
       },
       kDispatchLevel, Outcome::kIrqlTooHigh},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(outcomes_of(test.body, test.irql), std::vector{test.expected});
  }
}

TEST_F(RegionTest, EachThreadHasItsOwn) {
  const auto body = [&] {
    KeEnterCriticalRegion();
    kernel.point(Routine::kNone);
    KeLeaveCriticalRegion();
    EXPECT_FALSE(KeAreApcsDisabled());
  };
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    run(seed, body, body);
    EXPECT_TRUE(breaches().empty());
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
