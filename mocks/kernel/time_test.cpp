#include <ntddk.h>

#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr LONGLONG kMillisecond = 10'000;

using TimeTest = KernelFixture;

// Each clock against a delay of 32 ms: what it shows before and after, in units of 100 ns.
TEST_F(TimeTest, EveryClockShowsADelay) {
  struct Clock {
    const char* name;
    LONGLONG (*read)();
    LONGLONG unit;
  };
  const Clock clocks[] = {
      {"performance counter", [] { return KeQueryPerformanceCounter(nullptr).QuadPart; }, 1},
      {"interrupt time", [] { return static_cast<LONGLONG>(KeQueryInterruptTime()); }, 1},
      {"unbiased interrupt time", [] { return static_cast<LONGLONG>(KeQueryUnbiasedInterruptTime()); }, 1},
      {"system time",
       [] {
         LARGE_INTEGER time;
         KeQuerySystemTime(&time);
         return time.QuadPart;
       },
       1},
      {"precise system time",
       [] {
         LARGE_INTEGER time;
         KeQuerySystemTimePrecise(&time);
         return time.QuadPart;
       },
       1},
      {"tick count",
       [] {
         LARGE_INTEGER time;
         KeQueryTickCount(&time);
         return time.QuadPart;
       },
       KeQueryTimeIncrement()},
  };
  for (const Clock& clock : clocks) {
    run(1, [&] {
      const LONGLONG before = clock.read();
      LARGE_INTEGER delay;
      delay.QuadPart = -32 * kMillisecond;
      KeDelayExecutionThread(KernelMode, FALSE, &delay);
      const LONGLONG passed = (clock.read() - before) * clock.unit;
      EXPECT_GT(before, 0) << clock.name;
      EXPECT_NEAR(static_cast<double>(passed), 32.0 * kMillisecond, static_cast<double>(clock.unit)) << clock.name;
    });
  }
}

TEST_F(TimeTest, ALoopOnTheClockEnds) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(run(seed,
                  [&] {
                    const ULONGLONG end = KeQueryInterruptTime() + 100 * kMillisecond;
                    while (KeQueryInterruptTime() < end) {
                    }
                  }),
              schedule::EndReason::kAllEnded);
  }
}

TEST_F(TimeTest, StallingTakesTimeAtAnyLevel) {
  EXPECT_EQ(run(1,
                [&] {
                  const KIRQL old = KeRaiseIrqlToDpcLevel();
                  KeStallExecutionProcessor(50);
                  EXPECT_EQ(scheduler.now(), 500U);
                  KeStallExecutionProcessor(0);
                  KeLowerIrql(old);
                }),
            schedule::EndReason::kAllEnded);
  EXPECT_TRUE(breaches().empty());
}

TEST_F(TimeTest, ThreadsAtDispatchLevelAreOnProcessorsOfTheirOwn) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::multiset<ULONG> taken;
    const auto body = [&] {
      KeGetCurrentProcessorNumber();
      const KIRQL old = KeRaiseIrqlToDpcLevel();
      const ULONG mine = KeGetCurrentProcessorNumberEx(nullptr);
      EXPECT_LT(mine, KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS));
      taken.insert(mine);
      EXPECT_EQ(taken.count(mine), 1U) << "seed " << seed;
      KeStallExecutionProcessor(1);
      PROCESSOR_NUMBER number;
      EXPECT_EQ(KeGetCurrentProcessorNumberEx(&number), mine);
      EXPECT_EQ(KeGetProcessorIndexFromNumber(&number), mine);
      taken.erase(taken.find(mine));
      KeLowerIrql(old);
    };
    run(seed, body, body, body, body);
  }
}

TEST_F(TimeTest, AffinityConfinesAThread) {
  run(1, [&] {
    GROUP_AFFINITY wanted{};
    wanted.Mask = KAFFINITY{1} << 37;
    GROUP_AFFINITY before{};
    KeSetSystemGroupAffinityThread(&wanted, &before);
    EXPECT_EQ(KeGetCurrentProcessorIndex(), 37U);
    KeRevertToUserGroupAffinityThread(&before);
    EXPECT_NE(KeGetCurrentProcessorIndex(), 37U);
  });
}

TEST_F(TimeTest, ProcessorNumbersAndIndicesAgree) {
  run(1, [&] {
    PROCESSOR_NUMBER number;
    const ULONG count = KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS);
    EXPECT_EQ(count, KeQueryMaximumProcessorCount());
    EXPECT_EQ(KeGetProcessorNumberFromIndex(count - 1, &number), kStatusSuccess);
    EXPECT_EQ(KeGetProcessorIndexFromNumber(&number), count - 1);
    EXPECT_EQ(KeGetProcessorNumberFromIndex(count, &number), kStatusInvalidParameter);
    EXPECT_EQ(KeQueryActiveProcessorCountEx(1), 0U);
  });
}

TEST_F(TimeTest, RoutinesAreFoundByName) {
  run(1, [&] {
    const auto find = [](const WCHAR* text) {
      UNICODE_STRING name;
      RtlInitUnicodeString(&name, text);
      return MmGetSystemRoutineAddress(&name);
    };
    EXPECT_EQ(find(L"KeSetEvent"), reinterpret_cast<void*>(&KeSetEvent));
    EXPECT_EQ(find(L"KeSetEvents"), nullptr);
    EXPECT_EQ(find(L"malloc"), nullptr) << "no routine of the kernel";
    EXPECT_EQ(find(L"DriverEntry"), nullptr);
  });
}

}  // namespace
}  // namespace nmrfuzz::kernel
