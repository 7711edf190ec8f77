#include "contract/unload.h"

#include <algorithm>

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
                             EventKind::kImageGone, EventKind::kLeftOver, EventKind::kCall, EventKind::kWorkQueued});
}

void Unload::reset() {
  registrations_.clear();
  blocks_.clear();
  touched_at_.clear();
  unloading_.reset();
  entry_failed_.reset();
}

Unload::Registration& Unload::registration(trace::ObjectNumber number) {
  if (registrations_.size() <= number) {
    registrations_.resize(number + 1);
  }
  return registrations_[number];
}

void Unload::on_event(const Event& event) {
  switch (event.kind) {
    case EventKind::kRegisterEnter: {
      Registration& added = registration(event.object);
      added.module = event.module;
      added.role = event.routine == static_cast<trace::RoutineNumber>(kernel::Routine::NmrRegisterClient)
                       ? Role::kClient
                       : Role::kProvider;
      added.registered_at = current_number();
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
      registration(event.object).waited = true;
      break;
    case EventKind::kAllocate:
      if (event.object != 0) {
        blocks_.resize(std::max<std::size_t>(blocks_.size(), event.object + 1));
        blocks_[event.object] = {event.module, current_number(), true};
      }
      break;
    case EventKind::kFree:
      if (event.object < blocks_.size()) {
        blocks_[event.object].live = false;
      }
      break;
    case EventKind::kCall:
    case EventKind::kWorkQueued:
      if (event.thread != 0) {  // what the clock queues was set off by an earlier call
        remember_object(event.object);
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

// R97: begun elsewhere, as by a deactivation; R91: begun by Unload itself, which did not wait; R90: another thread
// waits.
std::string_view Unload::rule_for_pending(const Registration& left, const Event& event, bool entry_failed) {
  if (entry_failed) {
    return "R25";
  }
  if (left.before_unload || left.deregistered_by != event.thread) {
    return "R97";
  }
  return left.waited ? "R90" : "R91";
}

// R92: the call was made and failed; R94: the other role was deregistered; R93: another registration was; R89: none.
std::string_view Unload::rule_for_registered(const Registration& left, bool entry_failed) const {
  if (entry_failed) {
    return "R24";
  }
  if (left.deregistered_at != 0) {
    return "R92";
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

// What the loader found when it took the image away. b: 1 = queued or running, 0 = a resource that is only held.
void Unload::on_left_over(const Event& event) {
  const bool runs = event.b != 0;
  report(runs ? FindingKind::kUnloadRunning : FindingKind::kResourceLeak,
         entry_failed_[event.module] ? "R26"
         : runs                      ? "R108"
                                     : "R109",
         event, event.object != 0 && event.object < touched_at_.size() ? touched_at_[event.object] : current_number());
}

// Who queued or made what is left over is the cause of its being there.
void Unload::remember_object(trace::ObjectNumber object) {
  if (object != 0) {
    touched_at_.resize(std::max<std::size_t>(touched_at_.size(), object + 1), 0);
    touched_at_[object] = current_number();
  }
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
