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

}  // namespace
}  // namespace nmrfuzz::contract
