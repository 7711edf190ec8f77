#include "contract/progress.h"

#include "nmr/states.h"

namespace nmrfuzz::contract {

using nmr::DetachProgress;
using trace::EventKind;

Progress::Progress(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kDeadlock, EventKind::kStepLimit, EventKind::kSideState});
}

void Progress::on_event(const trace::Event& event) {
  switch (event.kind) {
    case EventKind::kSideState:
      if (event.module != 0) {
        pending_sides_ += static_cast<DetachProgress>(event.b) == DetachProgress::kPending ? 1U : 0U;
        pending_sides_ -= static_cast<DetachProgress>(event.a) == DetachProgress::kPending ? 1U : 0U;
      }
      break;
    case EventKind::kDeadlock:
      report(FindingKind::kDeadlock, pending_sides_ != 0 ? "R68" : "", event);
      break;
    default:
      report(FindingKind::kLivelock, "", event);
      break;
  }
}

}  // namespace nmrfuzz::contract
