#include "fuzz/event_text.h"

#include <fmt/format.h>

#include <array>

#include "fuzz/race_text.h"
#include "kernel/object.h"
#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/states.h"
#include "race/accesses.h"

namespace nmrfuzz::fuzz {

using trace::Event;
using trace::EventKind;
using trace::Outcome;

namespace {

constexpr std::array<std::string_view, 6> kRegistrationStateNames = {"none",          "registering", "active",
                                                                     "deregistering", "drained",     "closed"};
constexpr std::array<std::string_view, 8> kBindingStateNames = {"offered",   "negotiating", "accepted", "attached",
                                                                "detaching", "detached",    "cleaning", "gone"};
constexpr std::array<std::string_view, 6> kProgressNames = {
    "idle", "in its callback", "in its callback and completed", "pending", "done", "completed early"};
constexpr std::array<std::string_view, 7> kHandleStateNames = {"",
                                                               " (NULL handle)",
                                                               " (unknown handle)",
                                                               " (handle of another kind)",
                                                               " (another module's handle)",
                                                               " (stale handle)",
                                                               " (not allowed now)"};

// " registration 3"; nothing for what a handle does not name.
std::string numbered(std::string_view what, trace::ObjectNumber number) {
  return number != 0 ? fmt::format(" {} {}", what, number) : "";
}

std::string registration_text(const Event& event) {
  return fmt::format("{}{}{}", routine_name(event), numbered("registration", event.object),
                     kHandleStateNames.at(event.kind == EventKind::kRegisterEnter ? 0 : event.a));
}

// "the provider's function 3": what a call through a dispatch table goes to.
std::string function_text(const Event& call) {
  return fmt::format("the {}'s function {}", call.status == 0 ? "provider" : "client", call.a);
}

std::string call_text(const Event& event) {
  return fmt::format("{} {}{}", event.kind == EventKind::kNpiCallEnter ? "calls" : "returns from", function_text(event),
                     event.object != 0 ? fmt::format(" of binding {}", event.object) : "");
}

// "writes 8 bytes of place 3 in block 2 (volatile)".
std::string access_text(const Event& event) {
  const race::Shape shape = race::Shape::of(event.a);
  std::string text =
      fmt::format("{} {}{} bytes of place {}{}{}", verb_of(shape), shape.bytes, shape.bytes == 255 ? "+" : "",
                  event.status, numbered("in block", event.object), remark_on(shape.kind));
  if (event.outcome != Outcome::kOk) {
    text += fmt::format(", {}", phrase_of(event.outcome));
  }
  return text;
}

}  // namespace

std::string text_of(const Event& event) {
  const std::string_view routine = routine_name(event);
  switch (event.kind) {
    case EventKind::kThreadStart:
      return fmt::format("starts thread t{}", event.object);
    case EventKind::kThreadEnd:
      return "ends";
    case EventKind::kSwitch:
      return fmt::format("goes on (t{} waits for its turn)", event.a);
    case EventKind::kBlock:
      return event.object != 0 ? fmt::format("waits for object {}", event.object) : "waits";
    case EventKind::kTimePasses:
      return fmt::format("time is now {} us", event.a / 10);
    case EventKind::kCall:
      return fmt::format("{}{} -> {}", routine, numbered("object", event.object), status_text(event.status));
    case EventKind::kReturn:
      return fmt::format("{} object {} returns {}", routine, event.object, status_text(event.status));
    case EventKind::kAllocate:
      return event.object != 0 ? fmt::format("{} block {} of {} bytes", routine, event.object, event.a)
                               : fmt::format("{} of {} bytes fails", routine, event.a);
    case EventKind::kFree:
      return fmt::format("{} block {}", routine, event.object);
    case EventKind::kBreach:
      return fmt::format("{} {}", routine, phrase_of(event.outcome));
    case EventKind::kBadAccess:
      return fmt::format("{} of {} bytes {}", event.b != 0 ? "store" : "load", event.a, phrase_of(event.outcome));
    case EventKind::kBugCheck:
      return fmt::format("{} 0x{:x}", routine, event.a);
    case EventKind::kWorkQueued:
      return fmt::format("{} queues object {}", routine, event.object);
    case EventKind::kWorkStarted:
      return fmt::format("{} of object {} begins", routine, event.object);
    case EventKind::kWorkEnded:
      return fmt::format("{} of object {} has returned", routine, event.object);
    case EventKind::kWorkCancelled:
      return fmt::format("{} takes object {} back", routine, event.object);
    case EventKind::kRegisterEnter:
      return fmt::format("{} of NPI {}", registration_text(event), event.a);
    case EventKind::kRegisterExit:
    case EventKind::kDeregisterExit:
    case EventKind::kWaitExit:
      return fmt::format("{}{} returns {}", routine, numbered("registration", event.object), status_text(event.status));
    case EventKind::kDeregisterEnter:
    case EventKind::kWaitEnter:
      return registration_text(event);
    case EventKind::kOffer:
      return fmt::format("binding {} is offered: client registration {}, provider registration {}", event.object,
                         event.a, event.b);
    case EventKind::kAttachCallEnter:
    case EventKind::kComplete:
      return fmt::format("{}{}{}", routine, numbered("binding", event.object), kHandleStateNames.at(event.a));
    case EventKind::kAttachCallExit:
    case EventKind::kCallbackExit:
      return fmt::format("{}{} returns {}", routine, numbered("binding", event.object), status_text(event.status));
    case EventKind::kCallbackEnter:
      return fmt::format("{} binding {} is called{}", routine, event.object, event.module == 0 ? " in the peer" : "");
    case EventKind::kRegistrationState:
      return fmt::format("registration {}: {} -> {}", event.object, kRegistrationStateNames.at(event.a),
                         kRegistrationStateNames.at(event.b));
    case EventKind::kBindingState:
      return fmt::format("binding {}: {} -> {}", event.object, kBindingStateNames.at(event.a),
                         kBindingStateNames.at(event.b));
    case EventKind::kSideState:
      return fmt::format("binding {}, {} side: {} -> {}", event.object, event.status == 0 ? "client" : "provider",
                         kProgressNames.at(event.a), kProgressNames.at(event.b));
    case EventKind::kDriverEntryEnter:
      return "DriverEntry is called";
    case EventKind::kDriverEntryExit:
      return fmt::format("DriverEntry returns {}", status_text(event.status));
    case EventKind::kUnloadEnter:
      return "DriverUnload is called";
    case EventKind::kUnloadExit:
      return "DriverUnload returns";
    case EventKind::kImageGone:
      return "the module's image is gone";
    case EventKind::kDeadlock:
      return fmt::format("nobody can run: {} threads wait", event.a);
    case EventKind::kStepLimit:
      return fmt::format("step limit after {} steps", event.a);
    case EventKind::kEnd:
      return "every thread has ended";
    case EventKind::kLeftOver:
      return fmt::format("{} {} is {}", kernel::name_of(static_cast<kernel::ObjectKind>(event.a)), event.object,
                         event.b != 0 ? "queued or running" : "still held");
    case EventKind::kNpiCallEnter:
    case EventKind::kNpiCallExit:
      return call_text(event);
    case EventKind::kAccess:
      return access_text(event);
    case EventKind::kWaitObject:
      return fmt::format("its wait is satisfied by object {}", event.object);
    case EventKind::kInjectedFailure:
      return fmt::format("{} is made to fail (call {} of those that can)", routine, event.a);
    case EventKind::kNone:
    case EventKind::kCount:
      break;
  }
  return "";
}

std::string title_of_call(const Event& call, std::string_view rule) {
  const std::string called = function_text(call) + " was called ";
  const std::string_view caller = call.status == 0 ? "client" : "provider";
  if (rule == "R43") {
    return called + "though the provider had not accepted this client";
  }
  if (rule == "R55") {
    return called + "after this provider had declined the client";
  }
  if (rule == "R63") {
    return called + "with the context of another binding";
  }
  return called + (rule == "R87" ? fmt::format("by this {}'s cleanup callback", caller)
                                 : fmt::format("after this {}'s detach was complete", caller));
}

std::string title_of_unfinished_call(const Event& end, const Event& call) {
  return fmt::format("{} while a call of {} was in progress",
                     end.kind == EventKind::kComplete
                         ? fmt::format("{} was called", routine_name(end))
                         : fmt::format("{} returned {}", routine_name(end), status_text(end.status)),
                     function_text(call));
}

std::string_view routine_name(const Event& event) { return kernel::row_of(event.routine).name; }

std::string status_text(std::uint32_t status) {
  switch (static_cast<kernel::Status>(status)) {
    case kernel::kStatusSuccess:
      return "STATUS_SUCCESS";
    case kernel::kStatusTimeout:
      return "STATUS_TIMEOUT";
    case kernel::kStatusPending:
      return "STATUS_PENDING";
    case kernel::kStatusInvalidParameter:
      return "STATUS_INVALID_PARAMETER";
    case kernel::kStatusInsufficientResources:
      return "STATUS_INSUFFICIENT_RESOURCES";
    case kernel::kStatusNoInterface:
      return "STATUS_NOINTERFACE";
    default:
      return fmt::format("0x{:08x}", status);
  }
}

std::string_view phrase_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
    case Outcome::kInjected:
    case Outcome::kCount:
      return "";
    case Outcome::kNullArgument:
      return "was given NULL where it needs a valid address";
    case Outcome::kUnreadableArgument:
      return "was given an address that belongs to nobody";
    case Outcome::kUninitializedObject:
      return "was given an object that was never initialised, or no longer exists";
    case Outcome::kWrongObject:
      return "was given an object of another type";
    case Outcome::kFreedObject:
      return "was given an object in freed memory";
    case Outcome::kIrqlTooHigh:
      return "was called above its maximum IRQL";
    case Outcome::kIrqlTooLow:
      return "was called below DISPATCH_LEVEL";
    case Outcome::kIrqlRaisedByLower:
      return "was asked to move the IRQL in the wrong direction";
    case Outcome::kIrqlChanged:
      return "returned at another IRQL than it was entered at";
    case Outcome::kWaitAtRaisedIrql:
      return "was asked to wait at DISPATCH_LEVEL or above";
    case Outcome::kPagedAtRaisedIrql:
      return "touched paged memory at DISPATCH_LEVEL or above";
    case Outcome::kLockUninitialized:
      return "was given a lock that was never initialised";
    case Outcome::kLockNotOwned:
      return "released a lock that the thread does not hold";
    case Outcome::kLockRecursive:
      return "takes a lock that the thread holds already: it waits for itself";
    case Outcome::kLockHeldAtReturn:
      return "returned with a lock still held";
    case Outcome::kLockFreedWhileHeld:
      return "destroys a lock that is held";
    case Outcome::kRegionUnbalanced:
      return "left a critical or guarded region that it had not entered, or stayed in it";
    case Outcome::kRundownUnderflow:
      return "released rundown protection that was not acquired";
    case Outcome::kRundownFreedWhileHeld:
      return "destroys a rundown reference that is held";
    case Outcome::kReferenceUnderflow:
      return "dropped a reference that was not taken";
    case Outcome::kDoubleFree:
      return "frees a block that has been freed";
    case Outcome::kBadFree:
      return "was given an address that is not the start of a block";
    case Outcome::kWrongTag:
      return "was given another tag than the block was allocated with";
    case Outcome::kOverflow:
      return "finds the bytes around a block overwritten";
    case Outcome::kWrittenAfterFree:
      return "finds a block written to after it was freed";
    case Outcome::kFreedWhileInUse:
      return "frees an object that threads wait for";
    case Outcome::kNullAccess:
      return "at or near NULL";
    case Outcome::kFreedAccess:
      return "in freed pool memory";
    case Outcome::kOutOfBounds:
      return "outside of a pool block";
    case Outcome::kWildAccess:
      return "of memory that belongs to nobody";
    case Outcome::kUninitializedValue:
      return "of a value that was never set";
    case Outcome::kQueuedTwice:
      return "queues a work item that is queued already";
    case Outcome::kReinitializedWhileQueued:
      return "initialises an object that is queued";
    case Outcome::kFreedWhileQueued:
      return "frees an object that is queued";
    case Outcome::kDeletedTwice:
      return "deletes what has been deleted";
    case Outcome::kStaleHandle:
      return "was given a handle that is not open";
    case Outcome::kCharacteristicsFreed:
      return "frees data that are registered with NMR";
    case Outcome::kCharacteristicsReused:
      return "was given structures whose deregistration is not complete";
    case Outcome::kBadArgumentValue:
      return "was given a value that its documentation forbids";
    case Outcome::kWrongVersion:
      return "was given characteristics whose Version is not 0";
    case Outcome::kWrongLength:
      return "was given characteristics whose Length is not their size";
    case Outcome::kWrongInstanceSize:
      return "was given a registration instance whose Size is not its size";
    case Outcome::kWrongInstanceVersion:
      return "was given a registration instance whose Version is not 0";
    case Outcome::kMissingNpiId:
      return "was given a registration instance without NpiId";
    case Outcome::kWrongModuleId:
      return "was given a ModuleId whose Length or Type is wrong";
    case Outcome::kMissingModuleId:
      return "was given a registration instance without ModuleId";
    case Outcome::kMissingCallback:
      return "was given characteristics without attach or detach callback";
    case Outcome::kForeignCallback:
      return "was given an attach or detach callback that is no function of the module";
    case Outcome::kForeignCleanup:
      return "was given a cleanup callback that is no function of the module";
    case Outcome::kSameNumber:
      return "was given module and Number of another registration of the NPI";
    case Outcome::kCharacteristicsShared:
      return "was given the structures of another registration";
    case Outcome::kCharacteristicsChanged:
      return "finds that what it was given has changed since";
    case Outcome::kDispatchFreed:
      return "frees a dispatch table that the other side may call through";
    case Outcome::kUnordered:
      return "which nothing orders with an earlier access of another thread";
    case Outcome::kUnorderedRead:
      return "a plain read and an interlocked write that nothing orders";
    case Outcome::kHandleOverwritten:
      return "stores its handle over that of a live registration";
  }
  return "";
}

std::string line_of(const Event& event, std::uint64_t number) {
  return fmt::format("#{} t{}{} {}", number, event.thread, event.irql != 0 ? fmt::format(" irql {}", event.irql) : "",
                     text_of(event));
}

}  // namespace nmrfuzz::fuzz
