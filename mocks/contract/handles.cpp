#include "contract/handles.h"

#include <optional>

#include "contract/history.h"
#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/states.h"

namespace nmrfuzz::contract {

using kernel::Routine;
using nmr::DetachProgress;
using nmr::HandleState;
using trace::Event;
using trace::EventKind;

Handles::Handles(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(
      *this, {EventKind::kDeregisterEnter, EventKind::kWaitEnter, EventKind::kAttachCallEnter, EventKind::kComplete});
}

void Handles::on_event(const Event& event) {
  if (static_cast<HandleState>(event.a) == HandleState::kValid) {
    on_valid(event);
    return;
  }
  switch (event.kind) {
    case EventKind::kDeregisterEnter:
      on_deregister(event);
      break;
    case EventKind::kWaitEnter:
      on_wait(event);
      break;
    case EventKind::kAttachCallEnter:
      on_attach_call(event);
      break;
    default:
      on_complete(event);
      break;
  }
}

// A completion before the detach callback (A8).
void Handles::on_valid(const Event& event) {
  if (event.kind == EventKind::kComplete && event.module != 0 &&
      static_cast<DetachProgress>(event.b) == DetachProgress::kIdle) {
    note(FindingKind::kBadCall, "A8", event);
  }
}

void Handles::on_deregister(const Event& event) {
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kWrongKind:
      report(FindingKind::kBadHandle, "R101", event);
      break;
    case HandleState::kStale:  // once more after its wait
    case HandleState::kWrongState: {
      // The call that this one repeats.
      const std::uint64_t first = History(recorder()).last([&](const Event& earlier) {
        return earlier.kind == EventKind::kDeregisterEnter && earlier.object == event.object &&
               static_cast<HandleState>(earlier.a) == HandleState::kValid;
      });
      report(FindingKind::kBadHandle, "R98", event, first != 0 ? first : current_number());
      break;
    }
    default:
      report(FindingKind::kBadHandle, rule_of_no_handle(event, "R27"), event);
      break;
  }
}

// R22: what a failed Register has left in its output; R21: a module that went on after a failed Register.
std::string_view Handles::rule_of_no_handle(const Event& event, std::string_view otherwise) {
  const auto state = static_cast<HandleState>(event.a);
  if (event.kind == EventKind::kDeregisterEnter && event.b == 1) {
    return "R22";
  }
  if (state != HandleState::kNull && state != HandleState::kUnknown) {
    return otherwise;
  }
  const auto routine = static_cast<Routine>(event.routine);
  const bool client = routine == Routine::NmrDeregisterClient || routine == Routine::NmrWaitForClientDeregisterComplete;
  const auto registers =
      static_cast<trace::RoutineNumber>(client ? Routine::NmrRegisterClient : Routine::NmrRegisterProvider);
  const History history(recorder());
  const bool failed = history.any([&](const Event& earlier) {
    return earlier.kind == EventKind::kRegisterExit && earlier.module == event.module && earlier.routine == registers &&
           !kernel::succeeded(static_cast<kernel::Status>(earlier.status));
  });
  // In a DriverEntry that fails it is the undoing that is wrong (R27).
  const bool went_on = history.any([&](const Event& earlier) {
    return earlier.kind == EventKind::kDriverEntryExit && earlier.module == event.module;
  });
  return failed && went_on ? "R21" : otherwise;
}

void Handles::on_wait(const Event& event) {
  const History history(recorder());
  const std::uint64_t deregistered = history.last([&](const Event& earlier) {
    return earlier.kind == EventKind::kDeregisterExit && earlier.object == event.object;
  });
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kWrongState:  // R92: Deregister failed, and is waited for blindly
      report(FindingKind::kBadCall, deregistered != 0 ? "R92" : "R99", event);
      break;
    case HandleState::kStale:
      if (event.b == 1) {  // Deregister itself has closed it (A1), or the world tolerates a second wait (A16)
        const bool closed_at_once = deregistered != 0 && history.at(deregistered).status == 0;
        note(FindingKind::kBadHandle, closed_at_once ? "A1" : "A16", event);
      } else {
        report(FindingKind::kBadHandle, "R102", event);
      }
      break;
    default:
      report(FindingKind::kBadHandle, rule_of_no_handle(event, "R101"), event);
      break;
  }
}

void Handles::on_attach_call(const Event& event) {
  if (static_cast<HandleState>(event.a) != HandleState::kWrongState) {
    report(FindingKind::kBadHandle, "R33", event);
    return;
  }
  // Outside of the binding's callback, or inside it once more after a success.
  const History history(recorder());
  const std::optional<Frame> callback = history.innermost_callback(event.thread);
  const bool inside = callback && callback->event.object == event.object &&
                      callback->callback() == nmr::Callback::kClientAttachProvider;
  const bool again = inside && history.any([&](const Event& earlier) {
    return earlier.kind == EventKind::kAttachCallExit && earlier.object == event.object && earlier.status == 0;
  });
  report(FindingKind::kBadCall, again ? "R46" : "R32", event);
}

void Handles::on_complete(const Event& event) {
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kWrongKind:
      report(FindingKind::kBadHandle, event.object != 0 ? "R73" : "R72", event);
      break;
    case HandleState::kStale:
      report(FindingKind::kBadHandle, "R69", event);
      break;
    case HandleState::kWrongState: {
      const auto progress = static_cast<DetachProgress>(event.b);
      const bool again = progress == DetachProgress::kCallingCompleted || progress == DetachProgress::kDone ||
                         progress == DetachProgress::kCompletedEarly;
      report(FindingKind::kBadCall, again ? "R69" : "R70", event);
      break;
    }
    default:
      report(FindingKind::kBadHandle, "R72", event);
      break;
  }
}

}  // namespace nmrfuzz::contract
