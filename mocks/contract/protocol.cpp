#include "contract/protocol.h"

#include "kernel/routine.h"

namespace nmrfuzz::contract {

using kernel::Routine;
using trace::Event;
using trace::EventKind;
using trace::Outcome;

namespace {

// The rule that a breach of `outcome` by `routine` breaks; empty where the contract of NMR has none.
std::string_view rule_of(Outcome outcome, Routine routine) {
  const bool registers = routine == Routine::NmrRegisterProvider || routine == Routine::NmrRegisterClient;
  const bool waits = routine == Routine::NmrWaitForProviderDeregisterComplete ||
                     routine == Routine::NmrWaitForClientDeregisterComplete;
  switch (outcome) {
    case Outcome::kIrqlTooHigh:
      return registers ? "R19" : routine == Routine::NmrClientAttachProvider ? "R34" : waits ? "R100" : "";
    case Outcome::kNullArgument:
    case Outcome::kUnreadableArgument:
      return registers ? "R20" : routine == Routine::NmrClientAttachProvider ? "R35" : "";
    case Outcome::kIrqlChanged:
    case Outcome::kLockHeldAtReturn:
    case Outcome::kRegionUnbalanced:
      return "R82";
    case Outcome::kCharacteristicsFreed:
      return "R11";
    case Outcome::kCharacteristicsReused:
      return "R29";
    default:
      return "";
  }
}

// The pool block whose end is the cause; 0 for none. Breaches about other objects than pool blocks are numbered
// otherwise.
trace::ObjectNumber freed_block_of(const Event& event) {
  switch (event.outcome) {
    case Outcome::kDoubleFree:
    case Outcome::kFreedAccess:
    case Outcome::kWrittenAfterFree:
      return event.object;
    case Outcome::kFreedObject:
      return static_cast<trace::ObjectNumber>(event.a);
    default:
      return 0;
  }
}

}  // namespace

FindingKind kind_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kIrqlTooHigh:
    case Outcome::kIrqlTooLow:
    case Outcome::kIrqlRaisedByLower:
    case Outcome::kIrqlChanged:
    case Outcome::kWaitAtRaisedIrql:
    case Outcome::kPagedAtRaisedIrql:
      return FindingKind::kIrql;
    case Outcome::kLockUninitialized:
    case Outcome::kLockNotOwned:
    case Outcome::kLockHeldAtReturn:
    case Outcome::kLockFreedWhileHeld:
    case Outcome::kRegionUnbalanced:
    case Outcome::kRundownUnderflow:
    case Outcome::kRundownFreedWhileHeld:
    case Outcome::kReferenceUnderflow:
    case Outcome::kUninitializedObject:
    case Outcome::kWrongObject:
      return FindingKind::kLockMisuse;
    case Outcome::kLockRecursive:
      return FindingKind::kDeadlock;
    case Outcome::kDoubleFree:
      return FindingKind::kDoubleFree;
    case Outcome::kBadFree:
    case Outcome::kUnreadableArgument:
    case Outcome::kWildAccess:
      return FindingKind::kWildAccess;
    case Outcome::kNullArgument:
      return FindingKind::kBadCall;
    case Outcome::kNullAccess:
      return FindingKind::kNullDereference;
    case Outcome::kFreedObject:
    case Outcome::kFreedAccess:
    case Outcome::kWrittenAfterFree:
    case Outcome::kFreedWhileInUse:
    case Outcome::kFreedWhileQueued:
      return FindingKind::kUseAfterFree;
    case Outcome::kOverflow:
    case Outcome::kOutOfBounds:
      return FindingKind::kBufferOverflow;
    case Outcome::kUninitializedValue:
      return FindingKind::kUninitializedUse;
    case Outcome::kCharacteristicsFreed:
      return FindingKind::kCharacteristicsChanged;
    case Outcome::kStaleHandle:
      return FindingKind::kBadHandle;
    case Outcome::kWrongTag:
    case Outcome::kQueuedTwice:
    case Outcome::kReinitializedWhileQueued:
    case Outcome::kDeletedTwice:
    case Outcome::kBadArgumentValue:
    case Outcome::kCharacteristicsReused:
      return FindingKind::kBadCall;
    case Outcome::kOk:
    case Outcome::kInjected:
    case Outcome::kCount:
      break;
  }
  return FindingKind::kHarnessFault;
}

Protocol::Protocol(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kBreach, EventKind::kBadAccess, EventKind::kBugCheck, EventKind::kFree});
}

void Protocol::on_event(const Event& event) {
  switch (event.kind) {
    case EventKind::kFree:
      if (freed_at_.size() <= event.object) {
        freed_at_.resize(event.object + 1, 0);
      }
      freed_at_[event.object] = current_number();
      return;
    case EventKind::kBugCheck:
      report(FindingKind::kBugCheck, "", event);
      return;
    default:
      break;
  }
  const trace::ObjectNumber block = freed_block_of(event);
  const bool freed = block != 0 && block < freed_at_.size() && freed_at_[block] != 0;
  const std::uint64_t cause = freed ? freed_at_[block] : current_number();
  const FindingKind kind = kind_of(event.outcome);
  report(kind, rule_of(event.outcome, static_cast<Routine>(event.routine)), event, cause);
}

}  // namespace nmrfuzz::contract
