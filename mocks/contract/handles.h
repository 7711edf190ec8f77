// handles.h - the handles that a module gives to NMR: R27, R32, R33, R46, R69, R70, R72, R73, R98, R99, R101, R102.
#pragma once

#include <vector>

#include "contract/rule.h"

namespace nmrfuzz::contract {

class Handles final : public RuleFamily {
 public:
  Handles(trace::Recorder& recorder, FindingSink& sink);
  void reset() override { deregistered_at_.clear(); }
  void on_event(const trace::Event& event) override;

 private:
  void on_deregister(const trace::Event& event);
  void on_wait(const trace::Event& event);
  void on_attach_call(const trace::Event& event);
  void on_complete(const trace::Event& event);
  // The event of the call that a second one repeats.
  std::uint64_t first_deregister_of(trace::ObjectNumber registration) const;

  std::vector<std::uint64_t> deregistered_at_;  // by registration: the event of its Deregister
};

}  // namespace nmrfuzz::contract
