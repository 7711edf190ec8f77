#include "contract/handles.h"

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using nmr::DetachProgress;
using nmr::HandleState;
using Kind = Stream::Kind;

// A call with a handle in each state, and what is wrong with it.
struct HandleCase {
  Kind call;
  HandleState state;
  Verdict expected;
};

TEST(HandlesTest, EachStateOfTheHandleOfEachCall) {
  constexpr HandleCase kCases[] = {
      {Kind::kDeregisterEnter, HandleState::kValid, kRight},
      {Kind::kDeregisterEnter, HandleState::kNull, {FindingKind::kBadHandle, "R27"}},
      {Kind::kDeregisterEnter, HandleState::kUnknown, {FindingKind::kBadHandle, "R27"}},
      {Kind::kDeregisterEnter, HandleState::kForeign, {FindingKind::kBadHandle, "R27"}},
      {Kind::kDeregisterEnter, HandleState::kWrongKind, {FindingKind::kBadHandle, "R101"}},
      {Kind::kDeregisterEnter, HandleState::kStale, {FindingKind::kBadHandle, "R98"}},
      {Kind::kDeregisterEnter, HandleState::kWrongState, {FindingKind::kBadHandle, "R98"}},

      {Kind::kWaitEnter, HandleState::kValid, kRight},
      {Kind::kWaitEnter, HandleState::kNull, {FindingKind::kBadHandle, "R101"}},
      {Kind::kWaitEnter, HandleState::kUnknown, {FindingKind::kBadHandle, "R101"}},
      {Kind::kWaitEnter, HandleState::kForeign, {FindingKind::kBadHandle, "R101"}},
      {Kind::kWaitEnter, HandleState::kWrongKind, {FindingKind::kBadHandle, "R101"}},
      {Kind::kWaitEnter, HandleState::kStale, {FindingKind::kBadHandle, "R102"}},
      {Kind::kWaitEnter, HandleState::kWrongState, {FindingKind::kBadCall, "R99"}},

      {Kind::kAttachCallEnter, HandleState::kValid, kRight},
      {Kind::kAttachCallEnter, HandleState::kNull, {FindingKind::kBadHandle, "R33"}},
      {Kind::kAttachCallEnter, HandleState::kUnknown, {FindingKind::kBadHandle, "R33"}},
      {Kind::kAttachCallEnter, HandleState::kForeign, {FindingKind::kBadHandle, "R33"}},
      {Kind::kAttachCallEnter, HandleState::kWrongKind, {FindingKind::kBadHandle, "R33"}},
      {Kind::kAttachCallEnter, HandleState::kStale, {FindingKind::kBadHandle, "R33"}},
      {Kind::kAttachCallEnter, HandleState::kWrongState, {FindingKind::kBadCall, "R32"}},
  };
  Stream stream;
  for (const HandleCase& each : kCases) {
    SCOPED_TRACE(::testing::Message() << "call " << static_cast<int>(each.call) << " state "
                                      << static_cast<int>(each.state));
    stream.reset();
    stream.use_handle(each.call, 1, each.state);
    EXPECT_EQ(stream.verdict(), each.expected);
  }
}

TEST(HandlesTest, EachStateOfTheHandleOfACompletion) {
  struct Case {
    HandleState state;
    trace::ObjectNumber binding;  // that the handle names
    DetachProgress progress;
    Verdict expected;
  };
  constexpr Case kCases[] = {
      {HandleState::kValid, 1, DetachProgress::kPending, kRight},
      {HandleState::kValid, 1, DetachProgress::kCalling, kRight},  // inside the callback (A9)
      {HandleState::kValid, 1, DetachProgress::kIdle, kRight},     // before it (A8)
      {HandleState::kNull, 0, DetachProgress::kIdle, {FindingKind::kBadHandle, "R72"}},
      {HandleState::kUnknown, 0, DetachProgress::kIdle, {FindingKind::kBadHandle, "R72"}},
      {HandleState::kForeign, 1, DetachProgress::kPending, {FindingKind::kBadHandle, "R72"}},
      {HandleState::kWrongKind, 0, DetachProgress::kIdle, {FindingKind::kBadHandle, "R72"}},  // a registration's
      {HandleState::kWrongKind,
       1,
       DetachProgress::kPending,
       {FindingKind::kBadHandle, "R73"}},  // the other side's call
      {HandleState::kStale, 1, DetachProgress::kDone, {FindingKind::kBadHandle, "R69"}},
      {HandleState::kWrongState, 1, DetachProgress::kDone, {FindingKind::kBadCall, "R69"}},
      {HandleState::kWrongState, 1, DetachProgress::kCallingCompleted, {FindingKind::kBadCall, "R69"}},
      {HandleState::kWrongState, 1, DetachProgress::kCompletedEarly, {FindingKind::kBadCall, "R69"}},
      {HandleState::kWrongState,
       1,
       DetachProgress::kIdle,
       {FindingKind::kBadCall, "R70"}},  // not attached, or no world for it
  };
  Stream stream;
  for (const Case& each : kCases) {
    SCOPED_TRACE(::testing::Message() << "state " << static_cast<int>(each.state) << " binding " << each.binding
                                      << " progress " << static_cast<int>(each.progress));
    stream.reset();
    stream.complete(nmr::Role::kClient, each.binding, each.state, each.progress);
    EXPECT_EQ(stream.verdict(), each.expected);
  }
}

TEST(HandlesTest, TheCauseOfASecondDeregisterIsTheFirst) {
  Stream stream;
  stream.use_handle(Kind::kDeregisterEnter, 1, HandleState::kValid);
  const std::uint64_t first = stream.use_handle(Kind::kDeregisterEnter, 2, HandleState::kValid);
  const std::uint64_t second = stream.use_handle(Kind::kDeregisterEnter, 2, HandleState::kWrongState);
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, first);
  EXPECT_EQ(stream.findings()[0].event_number, second);

  stream.reset();
  const std::uint64_t only = stream.use_handle(Kind::kDeregisterEnter, 2, HandleState::kWrongState);
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, only) << "the previous execution is forgotten";
}

using kernel::Routine;

void fail_register(Stream& s) {
  s.write({.kind = Kind::kRegisterExit,
           .routine = Stream::of(Routine::NmrRegisterClient),
           .module = 1,
           .object = 1,
           .status = static_cast<std::uint32_t>(kernel::kStatusInsufficientResources)});
}
void deregister_nothing(Stream& s, Routine routine = Routine::NmrDeregisterClient, std::uint64_t poison = 0) {
  s.write({.kind = Kind::kDeregisterEnter,
           .routine = Stream::of(routine),
           .module = 1,
           .a = static_cast<std::uint64_t>(poison != 0 ? HandleState::kUnknown : HandleState::kNull),
           .b = poison});
}

TEST(HandlesTest, HandlesOfFailedRegistrations) {
  constexpr StreamCase kCases[] = {
      {"a module that goes on without its registration",
       {FindingKind::kBadHandle, "R21"},
       [](Stream& s) {
         fail_register(s);
         s.entry_returns(kernel::kStatusSuccess);
         deregister_nothing(s);
       }},
      {"a DriverEntry that undoes too much",
       {FindingKind::kBadHandle, "R27"},
       [](Stream& s) {
         fail_register(s);
         deregister_nothing(s);
       }},
      {"another role's registration failed",
       {FindingKind::kBadHandle, "R27"},
       [](Stream& s) {
         fail_register(s);
         s.entry_returns(kernel::kStatusSuccess);
         deregister_nothing(s, Routine::NmrDeregisterProvider);
       }},
      {"no registration failed",
       {FindingKind::kBadHandle, "R27"},
       [](Stream& s) {
         s.entry_returns(kernel::kStatusSuccess);
         deregister_nothing(s);
       }},
      {"what a failed Register left in the variable",
       {FindingKind::kBadHandle, "R22"},
       [](Stream& s) {
         fail_register(s);
         deregister_nothing(s, Routine::NmrDeregisterClient, 1);
       }},
  };
  expect_verdicts(kCases);
}

void deregister_returns(Stream& s, kernel::Status status) {
  s.write({.kind = Kind::kDeregisterExit, .module = 1, .object = 1, .status = static_cast<std::uint32_t>(status)});
}

TEST(HandlesTest, WaitsThatAreNoFindings) {
  const auto stale_wait = [](Stream& s, std::uint64_t tolerated) {
    s.write({.kind = Kind::kWaitEnter,
             .module = 1,
             .object = 1,
             .a = static_cast<std::uint64_t>(HandleState::kStale),
             .b = tolerated});
  };
  Stream stream;
  deregister_returns(stream, kernel::kStatusSuccess);
  stale_wait(stream, 1);
  EXPECT_EQ(stream.verdict(), kRight);
  EXPECT_EQ(stream.note(), "A1");
  stream.reset();
  deregister_returns(stream, kernel::kStatusPending);
  stale_wait(stream, 1);
  EXPECT_EQ(stream.verdict(), kRight);
  EXPECT_EQ(stream.note(), "A16");
  stream.reset();
  deregister_returns(stream, kernel::kStatusPending);
  stale_wait(stream, 0);
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kBadHandle, "R102"}));
  EXPECT_EQ(stream.note(), "none");
}

TEST(HandlesTest, AWaitAfterADeregisterThatFailed) {
  Stream stream;
  deregister_returns(stream, kernel::kStatusInsufficientResources);
  stream.use_handle(Kind::kWaitEnter, 1, HandleState::kWrongState);
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kBadCall, "R92"}));
}

TEST(HandlesTest, AttachingTwiceIsNotAttachingOutside) {
  Stream stream;
  stream.enter_callback(nmr::Callback::kClientAttachProvider, 1);
  stream.use_handle(Kind::kAttachCallEnter, 1, HandleState::kValid);
  stream.attach_call_returns(1, kernel::kStatusSuccess);
  stream.use_handle(Kind::kAttachCallEnter, 1, HandleState::kWrongState);
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kBadCall, "R46"}));
  stream.reset();
  stream.enter_callback(nmr::Callback::kClientAttachProvider, 1);
  stream.use_handle(Kind::kAttachCallEnter, 1, HandleState::kValid);
  stream.attach_call_returns(1, kernel::kStatusSuccess);
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 1, kernel::kStatusSuccess);
  stream.use_handle(Kind::kAttachCallEnter, 1, HandleState::kWrongState);
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kBadCall, "R32"}));
}

TEST(HandlesTest, AnEarlyCompletionIsNoted) {
  Stream stream;
  stream.complete(nmr::Role::kClient, 1, HandleState::kValid, DetachProgress::kPending);
  stream.complete(nmr::Role::kClient, 1, HandleState::kValid, DetachProgress::kCalling);
  EXPECT_EQ(stream.note(), "none");
  stream.complete(nmr::Role::kClient, 1, HandleState::kValid, DetachProgress::kIdle);
  EXPECT_EQ(stream.verdict(), kRight);
  EXPECT_EQ(stream.note(), "A8");
}

}  // namespace
}  // namespace nmrfuzz::contract
