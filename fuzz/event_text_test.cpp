#include "fuzz/event_text.h"

#include <gtest/gtest.h>

#include <set>

#include "contract/protocol.h"
#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/states.h"

namespace nmrfuzz::fuzz {
namespace {

using kernel::Routine;
using trace::Event;
using trace::EventKind;
using trace::Outcome;

constexpr trace::RoutineNumber of(Routine routine) { return static_cast<trace::RoutineNumber>(routine); }

TEST(EventTextTest, EachBreachHasAPhraseOfItsOwn) {
  std::set<std::string_view> phrases;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Outcome::kCount); ++i) {
    const auto outcome = static_cast<Outcome>(i);
    const bool is_breach = contract::kind_of(outcome) != contract::FindingKind::kHarnessFault;
    const std::string_view phrase = phrase_of(outcome);
    EXPECT_EQ(!phrase.empty(), is_breach) << i;
    EXPECT_TRUE(phrase.empty() || phrases.insert(phrase).second) << phrase;
  }
}

TEST(EventTextTest, EachKindThatIsWrittenHasAText) {
  for (std::size_t i = 1; i < trace::kEventKinds; ++i) {
    Event event;
    event.kind = static_cast<EventKind>(i);
    event.routine = of(Routine::KeSetEvent);
    event.outcome = Outcome::kNullArgument;
    event.object = 1;
    EXPECT_FALSE(text_of(event).empty()) << i;
  }
}

TEST(EventTextTest, EachStateHasAName) {
  for (std::uint64_t state = 0; state < nmr::kRegistrationStates; ++state) {
    EXPECT_NO_THROW(text_of({.kind = EventKind::kRegistrationState, .a = state, .b = state}));
  }
  for (std::uint64_t state = 0; state < nmr::kBindingStates; ++state) {
    EXPECT_NO_THROW(text_of({.kind = EventKind::kBindingState, .a = state, .b = state}));
  }
  for (std::uint64_t state = 0; state < nmr::kDetachProgresses; ++state) {
    EXPECT_NO_THROW(text_of({.kind = EventKind::kSideState, .a = state, .b = state}));
  }
  for (std::uint64_t state = 0; state <= static_cast<std::uint64_t>(nmr::HandleState::kWrongState); ++state) {
    EXPECT_NO_THROW(text_of({.kind = EventKind::kComplete, .a = state}));
    EXPECT_NO_THROW(text_of({.kind = EventKind::kWaitEnter, .a = state}));
  }
}

TEST(EventTextTest, Lines) {
  struct Case {
    Event event;
    const char* text;
  };
  const Case cases[] = {
      {{.kind = EventKind::kCall, .routine = of(Routine::KeSetEvent), .object = 4},
       "KeSetEvent object 4 -> STATUS_SUCCESS"},
      {{.kind = EventKind::kRegisterEnter, .routine = of(Routine::NmrRegisterClient), .object = 2, .a = 1},
       "NmrRegisterClient registration 2 of NPI 1"},
      {{.kind = EventKind::kDeregisterEnter,
        .routine = of(Routine::NmrDeregisterClient),
        .a = static_cast<std::uint64_t>(nmr::HandleState::kNull)},
       "NmrDeregisterClient (NULL handle)"},
      {{.kind = EventKind::kComplete,
        .routine = of(Routine::NmrProviderDetachClientComplete),
        .object = 3,
        .a = static_cast<std::uint64_t>(nmr::HandleState::kStale)},
       "NmrProviderDetachClientComplete binding 3 (stale handle)"},
      {{.kind = EventKind::kAllocate, .routine = of(Routine::ExAllocatePool2), .object = 1, .a = 40},
       "ExAllocatePool2 block 1 of 40 bytes"},
      {{.kind = EventKind::kAllocate, .routine = of(Routine::ExAllocatePool2), .a = 40},
       "ExAllocatePool2 of 40 bytes fails"},
      {{.kind = EventKind::kBadAccess, .outcome = Outcome::kFreedAccess, .a = 8, .b = 1},
       "store of 8 bytes in freed pool memory"},
      {{.kind = EventKind::kSideState, .object = 1, .status = 1, .a = 1, .b = 3},
       "binding 1, provider side: in its callback -> pending"},
      {{.kind = EventKind::kNpiCallEnter, .object = 2, .status = 0, .a = 3},
       "calls the provider's function 3 of binding 2"},
      {{.kind = EventKind::kNpiCallExit, .status = 1, .a = 3}, "returns from the client's function 3"},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(text_of(each.event), each.text);
  }
}

TEST(EventTextTest, TitlesOfCallsNameTheFunctionAndWhatIsWrong) {
  const Event by_client = {.kind = EventKind::kNpiCallEnter, .object = 2, .status = 0, .a = 3};
  const Event by_provider = {.kind = EventKind::kNpiCallEnter, .object = 2, .status = 1, .a = 0};
  struct Case {
    const Event& call;
    const char* rule;
    const char* title;
  };
  const Case cases[] = {
      {by_client, "R43", "the provider's function 3 was called though the provider had not accepted this client"},
      {by_provider, "R55", "the client's function 0 was called after this provider had declined the client"},
      {by_client, "R58", "the provider's function 3 was called after this client's detach was complete"},
      {by_provider, "R58", "the client's function 0 was called after this provider's detach was complete"},
      {by_client, "R63", "the provider's function 3 was called with the context of another binding"},
      {by_provider, "R87", "the client's function 0 was called by this provider's cleanup callback"},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(title_of_call(each.call, each.rule), each.title);
  }
}

TEST(EventTextTest, TitlesOfUnfinishedCallsNameWhatCameTooEarly) {
  const Event call = {.kind = EventKind::kNpiCallEnter, .object = 2, .status = 0, .a = 3};
  EXPECT_EQ(
      title_of_unfinished_call({.kind = EventKind::kCallbackExit, .routine = of(Routine::ClientDetachProvider)}, call),
      "ClientDetachProvider returned STATUS_SUCCESS while a call of the provider's function 3 was in progress");
  EXPECT_EQ(title_of_unfinished_call(
                {.kind = EventKind::kComplete, .routine = of(Routine::NmrClientDetachProviderComplete)}, call),
            "NmrClientDetachProviderComplete was called while a call of the provider's function 3 was in progress");
}

TEST(EventTextTest, ALineBeginsWithNumberThreadAndRaisedIrql) {
  EXPECT_EQ(line_of({.kind = EventKind::kThreadEnd, .thread = 3}, 12), "#12 t3 ends");
  EXPECT_EQ(line_of({.kind = EventKind::kThreadEnd, .irql = 2, .thread = 3}, 12), "#12 t3 irql 2 ends");
}

TEST(EventTextTest, StatusesByNameOrNumber) {
  EXPECT_EQ(status_text(static_cast<std::uint32_t>(kernel::kStatusPending)), "STATUS_PENDING");
  EXPECT_EQ(status_text(static_cast<std::uint32_t>(kernel::kStatusNoInterface)), "STATUS_NOINTERFACE");
  EXPECT_EQ(status_text(0xc0000022), "0xc0000022");
}

}  // namespace
}  // namespace nmrfuzz::fuzz
