// protocol.h - what a broken routine protocol means: kBreach, kBadAccess and kBugCheck events as findings.
//
// The kernel and the registrar state the fact (an Outcome); one table here gives each its kind and rule.
#pragma once

#include <vector>

#include "contract/rule.h"

namespace nmrfuzz::contract {

class Protocol final : public RuleFamily {
 public:
  Protocol(trace::Recorder& recorder, FindingSink& sink);
  void reset() override { freed_at_.clear(); }
  void on_event(const trace::Event& event) override;

 private:
  std::vector<std::uint64_t> freed_at_;  // by pool block: the number of the kFree event
};

// The kind that an outcome is reported as.
FindingKind kind_of(trace::Outcome outcome);

}  // namespace nmrfuzz::contract
