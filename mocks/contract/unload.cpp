#include "contract/unload.h"

#include <algorithm>

#include "contract/history.h"
#include "kernel/routine.h"
#include "kernel/status.h"

namespace nmrfuzz::contract {

using nmr::RegistrationState;
using nmr::Role;
using trace::Event;
using trace::EventKind;

Unload::Unload(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kRegisterEnter, EventKind::kRegistrationState, EventKind::kDeregisterEnter,
                             EventKind::kWaitEnter, EventKind::kAllocate, EventKind::kFree, EventKind::kUnloadEnter,
                             EventKind::kUnloadExit, EventKind::kDriverEntryEnter, EventKind::kDriverEntryExit,
                             EventKind::kImageGone, EventKind::kLeftOver});
}

void Unload::reset() {
  registrations_.clear();
  blocks_.clear();
  unloading_.reset();
  entry_failed_.reset();
}

Unload::Registration& Unload::registration(trace::ObjectNumber number) { return grown(registrations_, number); }

void Unload::on_event(const Event& event) {
  if (event.module == 0) {
    return;  // the environment's own
  }
  switch (event.kind) {
    case EventKind::kRegisterEnter: {
      Registration& added = registration(event.object);
      added.module = event.module;
      added.role = event.routine == static_cast<trace::RoutineNumber>(kernel::Routine::NmrRegisterClient)
                       ? Role::kClient
                       : Role::kProvider;
      added.registered_at = current_number();
      added.after_unload = unloading_[event.module];
      break;
    }
    case EventKind::kRegistrationState:
      registration(event.object).state = static_cast<RegistrationState>(event.b);
      break;
    case EventKind::kDeregisterEnter:
      registration(event.object).deregistered_at = current_number();
      registration(event.object).before_unload = !unloading_[event.module];
      registration(event.object).deregistered_by = event.thread;
      break;
    case EventKind::kWaitEnter:
      on_wait(event);
      break;
    case EventKind::kAllocate:
      if (event.object != 0) {
        grown(blocks_, event.object) = {event.module, current_number(), true};
      }
      break;
    case EventKind::kFree:
      if (event.object < blocks_.size()) {
        blocks_[event.object].live = false;
      }
      break;
    case EventKind::kDriverEntryEnter:  // perhaps not the module's first life in this execution
      unloading_.reset(event.module);
      entry_failed_.reset(event.module);
      break;
    case EventKind::kUnloadEnter:
      unloading_.set(event.module);
      break;
    case EventKind::kUnloadExit:
      on_left(event, false);
      break;
    case EventKind::kDriverEntryExit:
      if (!kernel::succeeded(static_cast<kernel::Status>(event.status))) {
        entry_failed_.set(event.module);
        on_left(event, true);
      }
      break;
    case EventKind::kLeftOver:
      on_left_over(event);
      break;
    case EventKind::kImageGone:
      on_image_gone(event);
      break;
    default:
      break;
  }
}

// Of two waits for one registration at once both end, which the documentation does not promise (A16).
void Unload::on_wait(const Event& event) {
  Registration& waited = registration(event.object);
  if (waited.waited && waited.state < RegistrationState::kClosed && event.object != 0 && event.module != 0 &&
      static_cast<nmr::HandleState>(event.a) == nmr::HandleState::kValid) {
    note(FindingKind::kBadHandle, "A16", event);
  }
  waited.waited = true;
}

// The module has returned for the last time: nothing may be registered, nothing half deregistered.
void Unload::on_left(const Event& event, bool entry_failed) {
  for (const Registration& left : registrations_) {
    if (left.module == event.module &&
        (left.state == RegistrationState::kRegistering || left.state == RegistrationState::kActive)) {
      report(FindingKind::kUnloadRegistered, rule_for_registered(left, entry_failed), event, left.registered_at);
    }
  }
  for (const Registration& left : registrations_) {
    if (left.module == event.module &&
        (left.state == RegistrationState::kDeregistering || left.state == RegistrationState::kDrained)) {
      report(FindingKind::kUnloadPending, rule_for_pending(left, event, entry_failed), event, left.deregistered_at);
    }
  }
}

// R97: begun elsewhere, as by a deactivation; R90: another thread waits; R95: others were waited for; R91: none was.
std::string_view Unload::rule_for_pending(const Registration& left, const Event& event, bool entry_failed) const {
  if (entry_failed) {
    return "R25";
  }
  if (left.before_unload || left.deregistered_by != event.thread) {
    return "R97";
  }
  if (left.waited) {
    return "R90";
  }
  const bool others = std::any_of(registrations_.begin(), registrations_.end(), [&](const Registration& other) {
    return other.module == left.module && other.waited && other.state == RegistrationState::kClosed;
  });
  return others ? "R95" : "R91";
}

// R92: the call was made and failed; R30: Unload had begun already; R28: its handle was overwritten; R93: another
// registration of the role was deregistered; R94: one of the other role was; R89: none.
std::string_view Unload::rule_for_registered(const Registration& left, bool entry_failed) {
  if (entry_failed) {
    return "R24";
  }
  if (left.deregistered_at != 0) {
    return "R92";
  }
  if (left.after_unload) {
    return "R30";
  }
  const auto number = static_cast<trace::ObjectNumber>(&left - registrations_.data());
  if (History(recorder()).any([number](const Event& event) {
        return event.kind == EventKind::kBreach && event.outcome == trace::Outcome::kHandleOverwritten &&
               event.object == number;
      })) {
    return "R28";
  }
  bool same_role = false;
  bool other_role = false;
  for (const Registration& other : registrations_) {
    if (other.module == left.module && other.state > RegistrationState::kActive) {
      (other.role == left.role ? same_role : other_role) = true;
    }
  }
  return same_role ? "R93" : other_role ? "R94" : "R89";
}

// What the loader found when it took the image away. b: 1 = queued or running, 0 = a resource that is only held. Who
// queued or made it is found when the execution is repeated for the report.
void Unload::on_left_over(const Event& event) {
  const bool runs = event.b != 0;
  report(runs ? FindingKind::kUnloadRunning : FindingKind::kResourceLeak,
         entry_failed_[event.module] ? "R26"
         : runs                      ? "R108"
                                     : "R109",
         event);
}

void Unload::on_image_gone(const Event& event) {
  for (trace::ObjectNumber number = 1; number < blocks_.size(); ++number) {
    if (blocks_[number].live && blocks_[number].module == event.module) {
      Event leak = event;
      leak.object = number;
      report(FindingKind::kMemoryLeak, entry_failed_[event.module] ? "R26" : "R109", leak,
             blocks_[number].allocated_at);
    }
  }
}

}  // namespace nmrfuzz::contract
