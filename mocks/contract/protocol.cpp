#include "contract/protocol.h"

#include <optional>

#include "contract/characteristics.h"
#include "contract/history.h"
#include "kernel/routine.h"

namespace nmrfuzz::contract {

using kernel::Routine;
using trace::Event;
using trace::EventKind;
using trace::Outcome;

namespace {

// The rule behind a routine that was called at too high a level, where the callbacks' own contract forbids it: only if
// the callback was entered at that level.
std::string_view rule_of_level(Routine routine, const Event& breach, const History& history) {
  const std::optional<Frame> frame = history.innermost_callback(breach.thread);
  if (!frame || frame->event.irql < kernel::kDispatchLevel) {
    return "";
  }
  if (!frame->is_detach()) {
    return frame->is_cleanup() ? "R86" : "";
  }
  return breach.outcome == Outcome::kWaitAtRaisedIrql || waits(routine) ? "R79" : "R78";
}

// The rule behind a thread that takes its own lock again: what it had called with the lock held.
std::string_view rule_of_recursion(const Event& breach, const History& history) {
  const std::uint64_t taken = history.last([&](const Event& event) {
    return event.kind == EventKind::kCall && event.thread == breach.thread && event.object == breach.object;
  });
  for (auto frame = history.innermost(breach.thread); frame && frame->number > taken && taken != 0;
       frame = history.innermost(breach.thread, frame->number)) {
    if (frame->event.kind == EventKind::kDeregisterEnter || frame->event.kind == EventKind::kWaitEnter) {
      return "R105";
    }
    if (!frame->is_cleanup()) {
      continue;
    }
    const std::uint64_t completed = history.last([&](const Event& event) {
      return event.kind == EventKind::kComplete && event.thread == breach.thread && event.object == frame->event.object;
    });
    if (completed > taken && completed < frame->number) {
      return "R83";
    }
  }
  return "";
}

// The rule that a breach breaks; empty where the contract of NMR has none.
std::string_view rule_of(const Event& breach, const History& history) {
  const auto routine = static_cast<Routine>(breach.routine);
  const bool registers = routine == Routine::NmrRegisterProvider || routine == Routine::NmrRegisterClient;
  const bool waits = routine == Routine::NmrWaitForProviderDeregisterComplete ||
                     routine == Routine::NmrWaitForClientDeregisterComplete;
  switch (breach.outcome) {
    case Outcome::kIrqlTooHigh:
      return registers                                     ? "R19"
             : routine == Routine::NmrClientAttachProvider ? "R34"
             : waits                                       ? "R100"
                                                           : rule_of_level(routine, breach, history);
    case Outcome::kWaitAtRaisedIrql:
    case Outcome::kPagedAtRaisedIrql:
      return rule_of_level(routine, breach, history);
    case Outcome::kLockRecursive:
      return rule_of_recursion(breach, history);
    case Outcome::kNullArgument:
    case Outcome::kUnreadableArgument:
      return registers ? "R20" : routine == Routine::NmrClientAttachProvider ? "R35" : "";
    case Outcome::kIrqlChanged:
    case Outcome::kLockHeldAtReturn:
    case Outcome::kRegionUnbalanced:
      return "R82";
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
    case Outcome::kCharacteristicsChanged:
    case Outcome::kDispatchFreed:
      return FindingKind::kCharacteristicsChanged;
    case Outcome::kHandleOverwritten:
      return FindingKind::kUnloadRegistered;
    case Outcome::kStaleHandle:
      return FindingKind::kBadHandle;
    case Outcome::kWrongTag:
    case Outcome::kQueuedTwice:
    case Outcome::kReinitializedWhileQueued:
    case Outcome::kDeletedTwice:
    case Outcome::kBadArgumentValue:
    case Outcome::kCharacteristicsReused:
    case Outcome::kWrongVersion:
    case Outcome::kWrongLength:
    case Outcome::kWrongInstanceSize:
    case Outcome::kWrongInstanceVersion:
    case Outcome::kMissingNpiId:
    case Outcome::kWrongModuleId:
    case Outcome::kMissingModuleId:
    case Outcome::kMissingCallback:
    case Outcome::kForeignCallback:
    case Outcome::kForeignCleanup:
    case Outcome::kSameNumber:
    case Outcome::kCharacteristicsShared:
      return FindingKind::kBadCall;
    case Outcome::kUnordered:
    case Outcome::kUnorderedRead:
      return FindingKind::kDataRace;
    case Outcome::kOk:
    case Outcome::kInjected:
    case Outcome::kCount:
      break;
  }
  return FindingKind::kHarnessFault;
}

// Who changed registered data is not known; who registered them is: the number of that event.
std::uint64_t Protocol::cause_of_change(const Event& breach, const History& history) const {
  const std::uint64_t registered =
      breach.outcome != Outcome::kCharacteristicsChanged ? 0 : history.last([&](const Event& event) {
        return event.kind == EventKind::kRegisterEnter && event.object == breach.object;
      });
  return registered != 0 ? registered : current_number();
}

Protocol::Protocol(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kBreach, EventKind::kBadAccess, EventKind::kBugCheck});
}

void Protocol::on_event(const Event& event) {
  if (event.kind == EventKind::kBugCheck) {
    report(FindingKind::kBugCheck, "", event);
    return;
  }
  const History history(recorder());
  const FindingKind kind = kind_of(event.outcome);
  if (const std::optional<Judgement> judgement = judge_registered_data(event, history)) {
    if (judgement->weight == Weight::kFinding) {
      report(kind, judgement->rule, event, cause_of_change(event, history));
    } else if (judgement->weight == Weight::kNote) {
      note(kind, judgement->rule, event);
    }
    return;
  }
  const trace::ObjectNumber block = freed_block_of(event);
  const std::uint64_t freed = block == 0 ? 0 : history.last([block](const Event& earlier) {
    return earlier.kind == EventKind::kFree && earlier.object == block;
  });
  report(kind, rule_of(event, history), event, freed != 0 ? freed : current_number());
}

}  // namespace nmrfuzz::contract
