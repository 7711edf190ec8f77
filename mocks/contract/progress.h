// progress.h - executions that do not end by themselves: deadlock (its rule by deadlock.h) and livelock.
#pragma once

#include "contract/rule.h"

namespace nmrfuzz::contract {

class Progress final : public RuleFamily {
 public:
  Progress(trace::Recorder& recorder, FindingSink& sink);
  void reset() override {}
  void on_event(const trace::Event& event) override;
};

}  // namespace nmrfuzz::contract
