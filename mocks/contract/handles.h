// handles.h - the handles that a module gives to NMR: R21, R22, R27, R32, R33, R46, R69, R70, R72, R73, R92, R98, R99,
// R101, R102; notes where a world lets a wait pass (A1, A16) or remembers an early completion (A8).
#pragma once

#include "contract/rule.h"

namespace nmrfuzz::contract {

class Handles final : public RuleFamily {
 public:
  Handles(trace::Recorder& recorder, FindingSink& sink);
  void reset() override {}
  void on_event(const trace::Event& event) override;

 private:
  void on_deregister(const trace::Event& event);
  void on_wait(const trace::Event& event);
  void on_attach_call(const trace::Event& event);
  void on_complete(const trace::Event& event);
  void on_valid(const trace::Event& event);
  // The rule behind a handle that is none.
  std::string_view rule_of_no_handle(const trace::Event& event, std::string_view otherwise);
};

}  // namespace nmrfuzz::contract
