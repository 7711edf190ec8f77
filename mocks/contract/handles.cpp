#include "contract/handles.h"

#include <algorithm>

#include "nmr/states.h"

namespace nmrfuzz::contract {

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
    if (event.kind == EventKind::kDeregisterEnter) {
      deregistered_at_.resize(std::max<std::size_t>(deregistered_at_.size(), event.object + 1), 0);
      deregistered_at_[event.object] = current_number();
    }
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

void Handles::on_deregister(const Event& event) {
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kWrongKind:
      report(FindingKind::kBadHandle, "R101", event);
      break;
    case HandleState::kStale:  // once more after its wait
    case HandleState::kWrongState:
      report(FindingKind::kBadHandle, "R98", event, first_deregister_of(event.object));
      break;
    default:
      report(FindingKind::kBadHandle, "R27", event);
      break;
  }
}

std::uint64_t Handles::first_deregister_of(trace::ObjectNumber registration) const {
  const bool known = registration < deregistered_at_.size() && deregistered_at_[registration] != 0;
  return known ? deregistered_at_[registration] : current_number();
}

void Handles::on_wait(const Event& event) {
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kWrongState:
      report(FindingKind::kBadCall, "R99", event);
      break;
    case HandleState::kStale:
      report(FindingKind::kBadHandle, "R102", event);
      break;
    default:
      report(FindingKind::kBadHandle, "R101", event);
      break;
  }
}

void Handles::on_attach_call(const Event& event) {
  // With a valid handle in the wrong state: outside the callback, or after a success. The registrar's binding has left
  // kOffered for good only in the latter case; which of the two it was does not change the kind.
  if (static_cast<HandleState>(event.a) == HandleState::kWrongState) {
    report(FindingKind::kBadCall, "R32", event);
  } else {
    report(FindingKind::kBadHandle, "R33", event);
  }
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
