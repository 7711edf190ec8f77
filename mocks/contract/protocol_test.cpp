#include "contract/protocol.h"

#include <algorithm>

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using kernel::Routine;
using trace::Outcome;
using Kind = Stream::Kind;

// Every outcome that is a breach. What is missing here would be taken for a fault of nmrfuzz itself.
struct OutcomeCase {
  Outcome outcome;
  FindingKind kind;
};
constexpr OutcomeCase kOutcomes[] = {
    {Outcome::kNullArgument, FindingKind::kBadCall},
    {Outcome::kUnreadableArgument, FindingKind::kWildAccess},
    {Outcome::kUninitializedObject, FindingKind::kLockMisuse},
    {Outcome::kWrongObject, FindingKind::kLockMisuse},
    {Outcome::kFreedObject, FindingKind::kUseAfterFree},
    {Outcome::kIrqlTooHigh, FindingKind::kIrql},
    {Outcome::kIrqlTooLow, FindingKind::kIrql},
    {Outcome::kIrqlRaisedByLower, FindingKind::kIrql},
    {Outcome::kIrqlChanged, FindingKind::kIrql},
    {Outcome::kWaitAtRaisedIrql, FindingKind::kIrql},
    {Outcome::kPagedAtRaisedIrql, FindingKind::kIrql},
    {Outcome::kLockUninitialized, FindingKind::kLockMisuse},
    {Outcome::kLockNotOwned, FindingKind::kLockMisuse},
    {Outcome::kLockRecursive, FindingKind::kDeadlock},
    {Outcome::kLockHeldAtReturn, FindingKind::kLockMisuse},
    {Outcome::kLockFreedWhileHeld, FindingKind::kLockMisuse},
    {Outcome::kRegionUnbalanced, FindingKind::kLockMisuse},
    {Outcome::kRundownUnderflow, FindingKind::kLockMisuse},
    {Outcome::kRundownFreedWhileHeld, FindingKind::kLockMisuse},
    {Outcome::kReferenceUnderflow, FindingKind::kLockMisuse},
    {Outcome::kDoubleFree, FindingKind::kDoubleFree},
    {Outcome::kBadFree, FindingKind::kWildAccess},
    {Outcome::kWrongTag, FindingKind::kBadCall},
    {Outcome::kOverflow, FindingKind::kBufferOverflow},
    {Outcome::kWrittenAfterFree, FindingKind::kUseAfterFree},
    {Outcome::kFreedWhileInUse, FindingKind::kUseAfterFree},
    {Outcome::kNullAccess, FindingKind::kNullDereference},
    {Outcome::kFreedAccess, FindingKind::kUseAfterFree},
    {Outcome::kOutOfBounds, FindingKind::kBufferOverflow},
    {Outcome::kWildAccess, FindingKind::kWildAccess},
    {Outcome::kUninitializedValue, FindingKind::kUninitializedUse},
    {Outcome::kQueuedTwice, FindingKind::kBadCall},
    {Outcome::kReinitializedWhileQueued, FindingKind::kBadCall},
    {Outcome::kFreedWhileQueued, FindingKind::kUseAfterFree},
    {Outcome::kDeletedTwice, FindingKind::kBadCall},
    {Outcome::kStaleHandle, FindingKind::kBadHandle},
    {Outcome::kBadArgumentValue, FindingKind::kBadCall},
    {Outcome::kCharacteristicsFreed, FindingKind::kCharacteristicsChanged},
    {Outcome::kCharacteristicsReused, FindingKind::kBadCall},
};

TEST(ProtocolTest, EachOutcomeHasItsKind) {
  Stream stream;
  for (const OutcomeCase& each : kOutcomes) {
    stream.reset();
    stream.breach(Routine::KeSetEvent, each.outcome);
    ASSERT_EQ(stream.findings().size(), 1U) << static_cast<int>(each.outcome);
    EXPECT_EQ(name_of(stream.findings()[0].kind), name_of(each.kind)) << static_cast<int>(each.outcome);
    EXPECT_EQ(kind_of(each.outcome), each.kind);
  }
}

TEST(ProtocolTest, OnlyWhatIsNoBreachHasNoKind) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(Outcome::kCount); ++i) {
    const auto outcome = static_cast<Outcome>(i);
    const bool listed = std::any_of(std::begin(kOutcomes), std::end(kOutcomes),
                                    [&](const OutcomeCase& each) { return each.outcome == outcome; });
    EXPECT_EQ(listed, outcome != Outcome::kOk && outcome != Outcome::kInjected) << i;
    EXPECT_EQ(kind_of(outcome) == FindingKind::kHarnessFault, !listed) << i;
  }
}

TEST(ProtocolTest, RulesOfTheNineRoutines) {
  struct Case {
    Routine routine;
    Outcome outcome;
    std::string_view rule;
  };
  constexpr Case kCases[] = {
      {Routine::NmrRegisterProvider, Outcome::kIrqlTooHigh, "R19"},
      {Routine::NmrRegisterClient, Outcome::kIrqlTooHigh, "R19"},
      {Routine::NmrRegisterProvider, Outcome::kNullArgument, "R20"},
      {Routine::NmrRegisterClient, Outcome::kUnreadableArgument, "R20"},
      {Routine::NmrClientAttachProvider, Outcome::kIrqlTooHigh, "R34"},
      {Routine::NmrClientAttachProvider, Outcome::kNullArgument, "R35"},
      {Routine::NmrWaitForProviderDeregisterComplete, Outcome::kIrqlTooHigh, "R100"},
      {Routine::NmrWaitForClientDeregisterComplete, Outcome::kIrqlTooHigh, "R100"},
      {Routine::ClientDetachProvider, Outcome::kIrqlChanged, "R82"},
      {Routine::ProviderAttachClient, Outcome::kLockHeldAtReturn, "R82"},
      {Routine::DpcRoutine, Outcome::kRegionUnbalanced, "R82"},
      {Routine::ExFreePoolWithTag, Outcome::kCharacteristicsFreed, "R11"},
      {Routine::NmrRegisterClient, Outcome::kCharacteristicsReused, "R29"},
      // The contract of NMR says nothing of these.
      {Routine::KeSetEvent, Outcome::kIrqlTooHigh, ""},
      {Routine::NmrDeregisterClient, Outcome::kIrqlTooHigh, ""},
      {Routine::ExFreePool, Outcome::kNullArgument, ""},
      {Routine::ExFreePool, Outcome::kDoubleFree, ""},
  };
  Stream stream;
  for (const Case& each : kCases) {
    SCOPED_TRACE(::testing::Message() << kernel::row_of(each.routine).name << " " << static_cast<int>(each.outcome));
    stream.reset();
    stream.breach(each.routine, each.outcome);
    EXPECT_EQ(stream.verdict(), (Verdict{kind_of(each.outcome), each.rule}));
  }
}

TEST(ProtocolTest, CallsAndFailuresAreNoFindings) {
  Stream stream;
  stream.allocate(1);
  stream.write({.kind = Kind::kCall, .routine = Stream::of(Routine::KeSetEvent), .module = 1, .object = 1});
  stream.write({.kind = Kind::kAllocate, .outcome = Outcome::kInjected, .module = 1});
  stream.free(1);
  EXPECT_EQ(stream.verdict(), kRight);
}

TEST(ProtocolTest, BugChecksAndAccesses) {
  Stream stream;
  stream.write({.kind = Kind::kBugCheck, .module = 1, .a = 0xe2});
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kBugCheck, ""}));
  stream.reset();
  stream.write({.kind = Kind::kBadAccess, .outcome = Outcome::kNullAccess, .module = 1});
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kNullDereference, ""}));
}

TEST(ProtocolTest, TheCauseOfUsingFreedMemoryIsWhereItWasFreed) {
  for (const Outcome outcome : {Outcome::kDoubleFree, Outcome::kFreedAccess, Outcome::kWrittenAfterFree}) {
    Stream stream;
    stream.allocate(1);
    stream.allocate(2);
    const std::uint64_t freed = stream.free(2);
    stream.free(1);
    stream.breach(Routine::ExFreePool, outcome, 2);
    ASSERT_EQ(stream.findings().size(), 1U);
    EXPECT_EQ(stream.findings()[0].cause_number, freed) << static_cast<int>(outcome);
  }
}

TEST(ProtocolTest, TheCauseOfUsingAFreedObjectIsTheFreeOfItsBlock) {
  Stream stream;
  stream.free(1);
  const std::uint64_t freed = stream.free(2);
  stream.write({.kind = Kind::kBreach, .outcome = Outcome::kFreedObject, .module = 1, .object = 1, .a = 2});
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, freed);
}

// Objects of the kernel and pool blocks are numbered independently of each other.
TEST(ProtocolTest, TheFreeOfAnotherBlockIsNoCause) {
  for (const Outcome outcome : {Outcome::kFreedObject, Outcome::kFreedWhileQueued, Outcome::kFreedWhileInUse}) {
    Stream stream;
    stream.allocate(1);
    stream.free(1);
    const std::uint64_t breach = stream.breach(Routine::KeSetEvent, outcome, 1);
    ASSERT_EQ(stream.findings().size(), 1U);
    EXPECT_EQ(stream.findings()[0].cause_number, breach) << static_cast<int>(outcome);
  }
}

TEST(ProtocolTest, ForgetsThePreviousExecution) {
  Stream stream;
  stream.free(1);
  stream.reset();
  const std::uint64_t breach = stream.breach(Routine::MemoryAccess, Outcome::kFreedAccess, 1);
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, breach);
}

}  // namespace
}  // namespace nmrfuzz::contract
