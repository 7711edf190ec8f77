#include "contract/progress.h"

#include "contract/deadlock.h"

namespace nmrfuzz::contract {

using trace::EventKind;

Progress::Progress(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kDeadlock, EventKind::kStepLimit});
}

void Progress::on_event(const trace::Event& event) {
  if (event.kind == EventKind::kDeadlock) {
    report(FindingKind::kDeadlock, deadlock_rule(recorder()), event);
  } else {
    report(FindingKind::kLivelock, "", event);
  }
}

}  // namespace nmrfuzz::contract
