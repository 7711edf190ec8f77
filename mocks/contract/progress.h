// progress.h - executions that do not end by themselves: deadlock (R68 where a detach is owed) and livelock.
#pragma once

#include <vector>

#include "contract/rule.h"

namespace nmrfuzz::contract {

class Progress final : public RuleFamily {
 public:
  Progress(trace::Recorder& recorder, FindingSink& sink);
  void reset() override { pending_sides_ = 0; }
  void on_event(const trace::Event& event) override;

 private:
  std::uint32_t pending_sides_ = 0;  // sides of modules under test that have returned STATUS_PENDING and not completed
};

}  // namespace nmrfuzz::contract
