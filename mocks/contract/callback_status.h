// callback_status.h - what the six callbacks may return: R36 to R39, R49, R50, R65, R70; notes on how they decline
// (R31, R48), on what they do where the documentation is silent: wait in a detach callback at PASSIVE_LEVEL (A4), begin
// or end registrations (A6, A13).
#pragma once

#include <vector>

#include "contract/rule.h"

namespace nmrfuzz::contract {

class CallbackStatus final : public RuleFamily {
 public:
  CallbackStatus(trace::Recorder& recorder, FindingSink& sink);
  void reset() override { bindings_.clear(); }
  void on_event(const trace::Event& event) override;

 private:
  // What has happened to a binding as far as these rules need it.
  struct Binding {
    bool asked = false;                  // NmrClientAttachProvider was called
    std::uint32_t last_status = 0;       // and returned this
    bool completed[2] = {false, false};  // by role: *DetachComplete was called
  };
  Binding& at(trace::ObjectNumber binding);
  void on_client_attach(const trace::Event& event);
  void on_provider_attach(const trace::Event& event);
  void on_detach(const trace::Event& event, std::size_t role);
  void on_callback_exit(const trace::Event& event);
  void note_oddities(const trace::Event& exit);

  std::vector<Binding> bindings_;
};

}  // namespace nmrfuzz::contract
