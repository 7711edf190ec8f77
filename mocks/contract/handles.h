// handles.h - the handles that a module gives to NMR: R27, R32, R33, R46, R69, R70, R72, R73, R98, R99, R101, R102.
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
};

}  // namespace nmrfuzz::contract
