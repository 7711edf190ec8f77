// fault_sites_test.cpp - every routine that can be made to fail is called by the correct modules of the corpus, and
// does fail in some of their first schedules.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fuzz/corpus.h"
#include "fuzz/hunt_fixture.h"
#include "kernel/routine.h"

namespace nmrfuzz::fuzz {
namespace {

using kernel::Routine;
using trace::Event;
using trace::EventKind;

constexpr std::uint64_t kSeed = 1;
constexpr std::uint64_t kSchedules = 300;
constexpr std::uint32_t kNpisMaximum = 16;  // modules with more take their time, and have a variant with fewer

struct Unreached {
  Routine routine;
  const char* reason;
};

// Those that no correct module of the corpus calls; unit tests of the kernel make them fail.
constexpr auto kUnreached = std::to_array<Unreached>({
    {Routine::ExAllocatePoolZero, "a stopgap of one WDK release; it fails where ExAllocatePoolWithTag does"},
    {Routine::ExAllocatePoolUninitialized, "a stopgap of one WDK release; it fails where ExAllocatePoolWithTag does"},
    {Routine::ExAllocateFromPagedLookasideList, "callbacks need memory at DISPATCH_LEVEL, which paged lists have not"},
    {Routine::ExAllocateCacheAwareRundownProtection, "the modules keep their rundown references in their contexts"},
    {Routine::ExAllocateTimer, "the modules use KTIMER"},
    {Routine::RtlAnsiStringToUnicodeString, "the modules' names are literals"},
    {Routine::RtlUnicodeStringToAnsiString, "the modules' names are literals"},
    {Routine::RtlStringFromGUID, "the modules print no GUID"},
});

struct Counts {
  std::uint64_t succeeded = 0;
  std::uint64_t injected = 0;
};

// Reads streams for calls of modules that can fail.
class Counting {
 public:
  void add(std::span<const Event> events) {
    for (const Event& event : events) {
      Counts& counts = counts_[static_cast<Routine>(event.routine)];
      switch (event.kind) {
        case EventKind::kInjectedFailure:
          ++counts.injected;
          break;
        case EventKind::kCall:
        case EventKind::kAllocate:
        case EventKind::kRegisterExit:
        case EventKind::kAttachCallExit:
          counts.succeeded += event.module != 0 && event.status == 0 ? 1 : 0;
          break;
        default:
          break;
      }
    }
  }
  const Counts& of(Routine routine) { return counts_[routine]; }

 private:
  std::map<Routine, Counts> counts_;
};

Counting count_in_corpus() {
  std::string error;
  const auto modules = read_corpus(corpus_folder(), error);
  EXPECT_TRUE(modules) << error;
  Counting counting;
  for (const CorpusModule& each : modules.value_or(std::vector<CorpusModule>{})) {
    if (!each.expected.empty() || each.provides + each.consumes > kNpisMaximum) {
      continue;
    }
    Hunted hunted(each.sources, each.options);
    for (std::uint64_t schedule = 0; hunted.usable() && schedule < kSchedules; ++schedule) {
      const Execution execution = hunted.run(kSeed, schedule);
      counting.add(std::span(hunted.events().events)
                       .first(std::min<std::size_t>(execution.events, trace::EventRing::kCapacity)));
    }
  }
  return counting;
}

TEST(FaultSites, EachFailsInSomeExecutionOfACorrectModule) {
  Counting counting = count_in_corpus();
  std::map<Routine, const char*> unreached;
  for (const Unreached& each : kUnreached) {
    EXPECT_TRUE(unreached.emplace(each.routine, each.reason).second);
  }
  std::size_t sites = 0;
  for (std::size_t i = 1; i < kernel::kRoutines.size(); ++i) {
    const auto routine = static_cast<Routine>(i);
    const auto& row = kernel::row_of(routine);
    if (row.can_fail == kernel::CanFail::kNo) {
      EXPECT_EQ(counting.of(routine).injected, 0U) << row.name << " failed, though its row says that it cannot";
      EXPECT_FALSE(unreached.contains(routine)) << row.name << " cannot fail";
      continue;
    }
    ++sites;
    const auto [succeeded, injected] = counting.of(routine);
    if (unreached.contains(routine)) {
      EXPECT_EQ(succeeded + injected, 0U) << row.name << " is reached: " << unreached[routine] << " no longer holds";
    } else {
      EXPECT_GT(succeeded, 0U) << row.name << " is never reached";
      EXPECT_GT(injected, 0U) << row.name << " never fails";
    }
  }
  EXPECT_GT(sites, unreached.size());
}

}  // namespace
}  // namespace nmrfuzz::fuzz
