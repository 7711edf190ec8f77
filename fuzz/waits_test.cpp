#include "fuzz/waits.h"

#include <gtest/gtest.h>

#include <memory>

#include "kernel/routine.h"

namespace nmrfuzz::fuzz {
namespace {

using kernel::Routine;
using trace::Event;
using trace::EventKind;

constexpr trace::RoutineNumber of(Routine routine) { return static_cast<trace::RoutineNumber>(routine); }

// "1 KeWaitForSingleObject" for each thread that waits at the end of the stream.
std::vector<std::string> waits_of(std::initializer_list<Event> events) {
  const auto ring = std::make_unique<trace::EventRing>();
  trace::Recorder recorder(*ring);
  for (const Event& event : events) {
    recorder.write(event);
  }
  std::vector<std::string> lines;
  for (const Wait& wait : waits_at_end(recorder)) {
    lines.push_back(std::to_string(wait.thread) + " " + std::string(wait.routine));
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(WaitsTest, WaitForADispatcherObject) {
  EXPECT_EQ(
      waits_of({{.kind = EventKind::kCall, .thread = 1, .routine = of(Routine::KeWaitForSingleObject), .object = 5},
                {.kind = EventKind::kBlock, .thread = 1, .object = 5},
                {.kind = EventKind::kDeadlock, .thread = 1}}),
      Lines{"1 KeWaitForSingleObject"});
}

TEST(WaitsTest, AWaitThatEndedIsNone) {
  EXPECT_EQ(
      waits_of({{.kind = EventKind::kCall, .thread = 1, .routine = of(Routine::KeWaitForSingleObject), .object = 5},
                {.kind = EventKind::kBlock, .thread = 1, .object = 5},
                {.kind = EventKind::kReturn, .thread = 1, .routine = of(Routine::KeWaitForSingleObject), .object = 5},
                {.kind = EventKind::kThreadEnd, .thread = 1}}),
      Lines{});
}

// A lock is named by how its holder took it: the call of one that waits is written when it has it.
TEST(WaitsTest, WaitForALock) {
  EXPECT_EQ(waits_of({{.kind = EventKind::kCall, .thread = 1, .routine = of(Routine::KeAcquireSpinLock), .object = 7},
                      {.kind = EventKind::kCall, .thread = 2, .routine = of(Routine::KeSetEvent), .object = 5},
                      {.kind = EventKind::kBlock, .thread = 2, .object = 7}}),
            Lines{"2 KeAcquireSpinLock"});
}

TEST(WaitsTest, WaitOfTheRegistrarAfterACallback) {
  EXPECT_EQ(
      waits_of(
          {{.kind = EventKind::kWaitEnter, .thread = 1, .routine = of(Routine::NmrWaitForClientDeregisterComplete)},
           {.kind = EventKind::kCallbackEnter, .thread = 1, .routine = of(Routine::ClientCleanupBindingContext)},
           {.kind = EventKind::kCall, .thread = 1, .routine = of(Routine::KeSetEvent), .object = 5},
           {.kind = EventKind::kCallbackExit, .thread = 1, .routine = of(Routine::ClientCleanupBindingContext)},
           {.kind = EventKind::kBlock, .thread = 1, .object = 9}}),
      Lines{"1 NmrWaitForClientDeregisterComplete"});
}

TEST(WaitsTest, ANewThreadOfAUsedNumberHasNoPast) {
  EXPECT_EQ(
      waits_of(
          {{.kind = EventKind::kWaitEnter, .thread = 2, .routine = of(Routine::NmrWaitForClientDeregisterComplete)},
           {.kind = EventKind::kThreadStart, .thread = 1, .object = 2},
           {.kind = EventKind::kBlock, .thread = 2, .object = 9}}),
      Lines{"2 "});
}

}  // namespace
}  // namespace nmrfuzz::fuzz
