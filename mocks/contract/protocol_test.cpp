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
    {Outcome::kWrongVersion, FindingKind::kBadCall},
    {Outcome::kWrongLength, FindingKind::kBadCall},
    {Outcome::kWrongInstanceSize, FindingKind::kBadCall},
    {Outcome::kWrongInstanceVersion, FindingKind::kBadCall},
    {Outcome::kMissingNpiId, FindingKind::kBadCall},
    {Outcome::kWrongModuleId, FindingKind::kBadCall},
    {Outcome::kMissingModuleId, FindingKind::kBadCall},
    {Outcome::kMissingCallback, FindingKind::kBadCall},
    {Outcome::kForeignCallback, FindingKind::kBadCall},
    {Outcome::kForeignCleanup, FindingKind::kBadCall},
    {Outcome::kSameNumber, FindingKind::kBadCall},
    {Outcome::kCharacteristicsShared, FindingKind::kBadCall},
    {Outcome::kCharacteristicsChanged, FindingKind::kCharacteristicsChanged},
    {Outcome::kDispatchFreed, FindingKind::kCharacteristicsChanged},
    {Outcome::kHandleOverwritten, FindingKind::kUnloadRegistered},
    {Outcome::kUnordered, FindingKind::kDataRace},
    {Outcome::kUnorderedRead, FindingKind::kDataRace},
};

// Outcomes that are no finding where they occur (characteristics_test.cpp).
constexpr Outcome kNoFindings[] = {Outcome::kWrongInstanceSize,     Outcome::kWrongInstanceVersion,
                                   Outcome::kMissingModuleId,       Outcome::kSameNumber,
                                   Outcome::kCharacteristicsShared, Outcome::kHandleOverwritten};

TEST(ProtocolTest, EachOutcomeHasItsKind) {
  Stream stream;
  for (const OutcomeCase& each : kOutcomes) {
    stream.reset();
    EXPECT_EQ(kind_of(each.outcome), each.kind);
    if (std::find(std::begin(kNoFindings), std::end(kNoFindings), each.outcome) != std::end(kNoFindings)) {
      continue;
    }
    stream.breach(Routine::KeSetEvent, each.outcome);
    ASSERT_EQ(stream.findings().size(), 1U) << static_cast<int>(each.outcome);
    EXPECT_EQ(name_of(stream.findings()[0].kind), name_of(each.kind)) << static_cast<int>(each.outcome);
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

// What a detach or cleanup callback may not do at the level at which it was entered.
struct LevelCase {
  const char* name;
  nmr::Callback callback;
  std::uint8_t entered_at;
  Routine routine;
  Outcome outcome;
  std::string_view rule;
};

TEST(ProtocolTest, LevelsInsideCallbacks) {
  using nmr::Callback;
  constexpr LevelCase kCases[] = {
      {"a passive routine in detach", Callback::kClientDetachProvider, 2, Routine::ExAcquireFastMutex,
       Outcome::kIrqlTooHigh, "R78"},
      {"paged memory in detach", Callback::kProviderDetachClient, 2, Routine::MemoryAccess, Outcome::kPagedAtRaisedIrql,
       "R78"},
      {"a wait in detach", Callback::kProviderDetachClient, 2, Routine::KeWaitForSingleObject,
       Outcome::kWaitAtRaisedIrql, "R79"},
      {"a rundown wait in detach", Callback::kClientDetachProvider, 2, Routine::ExWaitForRundownProtectionRelease,
       Outcome::kIrqlTooHigh, "R79"},
      {"a passive routine in cleanup", Callback::kClientCleanupBindingContext, 2, Routine::ExAcquireFastMutex,
       Outcome::kIrqlTooHigh, "R86"},
      {"a level that the callback has raised itself", Callback::kClientDetachProvider, 0, Routine::ExAcquireFastMutex,
       Outcome::kIrqlTooHigh, ""},
      {"an attach callback", Callback::kClientAttachProvider, 2, Routine::ExAcquireFastMutex, Outcome::kIrqlTooHigh,
       ""},
  };
  Stream stream;
  for (const LevelCase& each : kCases) {
    SCOPED_TRACE(each.name);
    stream.reset();
    stream.enter_callback(each.callback, 1, 0, each.entered_at);
    stream.breach(each.routine, each.outcome);
    EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kIrql, each.rule}));
    stream.reset();
    stream.enter_callback(each.callback, 1, 0, each.entered_at);
    stream.callback_returns(each.callback, 1, kernel::kStatusSuccess, 3);
    stream.breach(each.routine, each.outcome);
    EXPECT_EQ(stream.findings().back().rule, "") << "the callback is over";
  }
}

void take(Stream& s) {
  s.write({.kind = Kind::kCall, .routine = Stream::of(Routine::KeAcquireSpinLock), .module = 1, .object = 5});
}

TEST(ProtocolTest, TakingALockAgain) {
  constexpr StreamCase kCases[] = {
      {"inside a callback of Deregister, with the lock held across it",
       {FindingKind::kDeadlock, "R105"},
       [](Stream& s) {
         s.register_one(1);
         take(s);
         s.deregister(1);
         s.enter_callback(nmr::Callback::kProviderDetachClient, 1);
         s.breach(Routine::KeAcquireSpinLock, Outcome::kLockRecursive, 5);
       }},
      {"inside the cleanup of a completion, with the lock held across it",
       {FindingKind::kDeadlock, "R83"},
       [](Stream& s) {
         take(s);
         s.complete(nmr::Role::kProvider, 1);
         s.enter_callback(nmr::Callback::kProviderCleanupBindingContext, 1);
         s.breach(Routine::KeAcquireSpinLock, Outcome::kLockRecursive, 5);
       }},
      {"inside a callback that took it itself",
       {FindingKind::kDeadlock, ""},
       [](Stream& s) {
         s.register_one(1);
         s.deregister(1);
         s.enter_callback(nmr::Callback::kProviderDetachClient, 1);
         take(s);
         s.breach(Routine::KeAcquireSpinLock, Outcome::kLockRecursive, 5);
       }},
  };
  expect_verdicts(kCases);
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
