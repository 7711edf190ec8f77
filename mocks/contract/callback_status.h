// callback_status.h - what the six callbacks may return: R36 to R39, R49, R50, R65, R70.
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

  std::vector<Binding> bindings_;
};

}  // namespace nmrfuzz::contract
