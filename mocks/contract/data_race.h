// data_race.h - two accesses of a module's memory that nothing orders.
//
// What is a race is decided where accesses are remembered (race/access_kind.h has the table); here it becomes a
// finding, or a note where drivers do it on purpose. A race does not end an execution: what comes of it may be graver.
#pragma once

#include "contract/rule.h"

namespace nmrfuzz::contract {

class DataRace final : public RuleFamily {
 public:
  DataRace(trace::Recorder& recorder, FindingSink& sink);

  void reset() override {}
  void on_event(const trace::Event& event) override;
};

}  // namespace nmrfuzz::contract
