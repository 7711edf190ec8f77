#include "peers/dispatch_stubs.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "kernel/kernel.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::peers {
namespace {

using nmr::Role;
using trace::Event;
using trace::EventKind;

using Function = long (*)(...);
Function function(Role caller, trace::ObjectNumber binding, unsigned slot) {
  return static_cast<const Function*>(dispatch_stubs(caller, binding))[slot];
}

class DispatchStubsTest : public ::testing::Test {
 protected:
  DispatchStubsTest() : kernel_before_(kernel::set_current_kernel(&kernel)) {}
  ~DispatchStubsTest() override { kernel::set_current_kernel(kernel_before_); }

  // Runs `body`, as code of module 2, on a thread; with another thread that marks where it was let in.
  template <class Body>
  std::vector<Event> run(std::uint64_t seed, Body body) {
    recorder.reset();
    random.begin(seed);
    scheduler.reset(random);
    kernel.reset({});
    struct Start {
      DispatchStubsTest* test;
      Body* body;
    } start{this, &body};
    kernel.spawn(
        schedule::ThreadRole::kTest,
        [](void* argument) {
          const Start& self = *static_cast<Start*>(argument);
          self.test->kernel.call_into(kModule, kernel::Routine::ThreadRoutine, [&] { (*self.body)(); });
        },
        &start, kernel::kPassiveLevel);
    kernel.spawn(
        schedule::ThreadRole::kTest,
        [](void* test) {
          auto& self = *static_cast<DispatchStubsTest*>(test);
          self.kernel.write(EventKind::kBugCheck, kernel::Routine::kNone, 0);
        },
        this, kernel::kPassiveLevel);
    EXPECT_EQ(scheduler.run(), schedule::EndReason::kAllEnded);
    std::vector<Event> seen;
    for (std::uint64_t number = 0; number < recorder.size(); ++number) {
      const EventKind kind = recorder.at(number).kind;
      if (kind == EventKind::kNpiCallEnter || kind == EventKind::kNpiCallExit || kind == EventKind::kBugCheck ||
          kind == EventKind::kBreach) {
        seen.push_back(recorder.at(number));
      }
    }
    return seen;
  }
  static std::vector<Event> calls_of(std::vector<Event> events) {
    std::erase_if(events, [](const Event& event) { return event.kind == EventKind::kBugCheck; });
    return events;
  }

  static constexpr trace::ModuleNumber kModule = 2;

  std::unique_ptr<trace::EventRing> ring = std::make_unique<trace::EventRing>();
  std::unique_ptr<schedule::DecisionLog> decisions = std::make_unique<schedule::DecisionLog>();
  trace::Recorder recorder{*ring};
  schedule::Scheduler scheduler{recorder, *decisions};
  kernel::Kernel kernel{scheduler};
  schedule::RandomWalk random;
  int context = 0;

 private:
  kernel::Kernel* kernel_before_;
};

TEST_F(DispatchStubsTest, ACallIsEnteredAndReturnsSuccess) {
  long result = -1;
  std::uint32_t number = 0;
  const auto events = calls_of(run(1, [&] {
    number = kernel.number_of_value(&context);
    result = function(Role::kProvider, 5, 3)(&context, 7L);
  }));
  EXPECT_EQ(result, 0);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, EventKind::kNpiCallEnter);
  EXPECT_EQ(events[1].kind, EventKind::kNpiCallExit);
  for (const Event& event : events) {
    EXPECT_EQ(event.object, 5U);
    EXPECT_EQ(event.a, 3U);
    EXPECT_EQ(event.b, number);
    EXPECT_EQ(event.status, static_cast<std::uint32_t>(Role::kProvider));
    EXPECT_EQ(event.module, kModule);
  }
}

// In front of the call, within it, behind it: that is where another thread is let in.
TEST_F(DispatchStubsTest, OthersRunBeforeAndWithinACall) {
  std::set<std::size_t> places;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const auto events = run(seed, [&] { function(Role::kClient, 1, 0)(&context); });
    ASSERT_EQ(events.size(), 3U);
    for (std::size_t place = 0; place < events.size(); ++place) {
      if (events[place].kind == EventKind::kBugCheck) {
        places.insert(place);
      }
    }
  }
  EXPECT_EQ(places, (std::set<std::size_t>{0, 1, 2}));
}

TEST_F(DispatchStubsTest, EachBindingAndFunctionIsToldApart) {
  const auto events = calls_of(run(1, [&] {
    for (const Role caller : {Role::kClient, Role::kProvider}) {
      for (trace::ObjectNumber binding = 1; binding <= kBindingsWithTable; ++binding) {
        for (unsigned slot = 0; slot < kStubs; ++slot) {
          function(caller, binding, slot)();
        }
      }
    }
  }));
  ASSERT_EQ(events.size(), 2U * 2 * kBindingsWithTable * kStubs);
  std::size_t index = 0;
  for (const Role caller : {Role::kClient, Role::kProvider}) {
    for (trace::ObjectNumber binding = 1; binding <= kBindingsWithTable; ++binding) {
      for (unsigned slot = 0; slot < kStubs; ++slot, index += 2) {
        ASSERT_EQ(events[index].status, static_cast<std::uint32_t>(caller));
        ASSERT_EQ(events[index].object, binding);
        ASSERT_EQ(events[index].a, slot);
      }
    }
  }
}

TEST_F(DispatchStubsTest, LateBindingsShareATable) {
  EXPECT_EQ(dispatch_stubs(Role::kClient, kBindingsWithTable + 1), dispatch_stubs(Role::kClient, 1'000'000));
  EXPECT_NE(dispatch_stubs(Role::kClient, kBindingsWithTable + 1), dispatch_stubs(Role::kClient, kBindingsWithTable));
  const auto events = calls_of(run(1, [&] { function(Role::kClient, kBindingsWithTable + 1, 2)(&context); }));
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].object, 0U);
}

TEST_F(DispatchStubsTest, ACallAtAnyIrqlWithALockHeldIsLawful) {
  const auto events = calls_of(run(1, [&] {
    kernel.set_irql(kernel::kDispatchLevel);
    ++kernel.thread_state().locks_held;
    function(Role::kClient, 1, 0)(&context);
    EXPECT_EQ(kernel.irql(), kernel::kDispatchLevel);
    EXPECT_EQ(kernel.thread_state().locks_held, 1U);
    --kernel.thread_state().locks_held;
    kernel.set_irql(kernel::kPassiveLevel);
  }));
  ASSERT_EQ(events.size(), 2U) << "a breach";
  EXPECT_EQ(events[0].irql, kernel::kDispatchLevel);
}

// NULL, small integers and addresses that no event has named say nothing; asking does not name them.
TEST_F(DispatchStubsTest, OnlyAKnownContextHasANumber) {
  const auto events = calls_of(run(1, [&] {
    kernel.number_of_value(reinterpret_cast<void*>(5));
    function(Role::kClient, 1, 0)(nullptr);
    function(Role::kClient, 1, 0)(5L);
    function(Role::kClient, 1, 0)(&context);
    EXPECT_EQ(kernel.known_number_of_value(&context), 0U);
  }));
  ASSERT_EQ(events.size(), 6U);
  for (const Event& event : events) {
    EXPECT_EQ(event.b, 0U);
  }
}

TEST_F(DispatchStubsTest, ArgumentsOfAnyKindAreLeftAlone) {
  std::uint64_t output = 0x1234;
  struct Large {
    std::array<std::uint64_t, 8> values{};
  };
  run(1, [&] {
    function(Role::kClient, 1, 1)(&context, &output, 1.5, Large{}, 7, 8, 9, 10, 11, 2.5);
    function(Role::kClient, 1, 1)();
  });
  EXPECT_EQ(output, 0x1234U);
}

#if defined(__x86_64__)
// What a call without arguments passes is what the one before left behind.
TEST_F(DispatchStubsTest, ACallLeavesNoContextBehind) {
  const auto events = calls_of(run(1, [&] {
    kernel.number_of_value(&context);
    const Function called = function(Role::kClient, 1, 0);
    asm volatile("mov %0, %%rdi\n\txor %%eax, %%eax\n\tcall *%1\n\txor %%eax, %%eax\n\tcall *%1"
                 :
                 : "r"(&context), "b"(called)
                 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
  }));
  ASSERT_EQ(events.size(), 4U);
  EXPECT_NE(events[0].b, 0U);
  EXPECT_EQ(events[2].b, 0U);
}
#endif

}  // namespace
}  // namespace nmrfuzz::peers
