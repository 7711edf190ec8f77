#include "contract/data_race.h"

namespace nmrfuzz::contract {

using trace::Event;
using trace::EventKind;
using trace::Outcome;

DataRace::DataRace(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kAccess});
}

void DataRace::on_event(const Event& event) {
  if (event.outcome == Outcome::kUnordered) {
    report(FindingKind::kDataRace, "", event);
  } else if (event.outcome == Outcome::kUnorderedRead) {
    note(FindingKind::kDataRace, "", event);
  }
}

}  // namespace nmrfuzz::contract
