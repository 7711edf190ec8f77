// protocol.h - what a broken routine protocol means: kBreach, kBadAccess and kBugCheck events as findings.
//
// The kernel and the registrar state the fact (an Outcome); one table here gives each its kind and rule.
// Data that were handed to Register are judged in characteristics.h.
#pragma once

#include "contract/history.h"
#include "contract/rule.h"

namespace nmrfuzz::contract {

class Protocol final : public RuleFamily {
 public:
  Protocol(trace::Recorder& recorder, FindingSink& sink);
  void reset() override {}
  void on_event(const trace::Event& event) override;

 private:
  std::uint64_t cause_of_change(const trace::Event& breach, const History& history) const;
};

// The kind that an outcome is reported as.
FindingKind kind_of(trace::Outcome outcome);

}  // namespace nmrfuzz::contract
