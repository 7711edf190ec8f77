// unload.h - what must be over when a module leaves memory: R24 to R26, R28, R30, R89 to R95, R97, R108, R109.
//
// Of the rules that one registration breaks, the most specific one is named.
// A registration that was never deregistered hides what hangs from it (its bindings' memory, its running callbacks):
// one root cause is one finding, and this family's checks run in the order of causes.
#pragma once

#include <bitset>
#include <vector>

#include "contract/rule.h"
#include "nmr/states.h"

namespace nmrfuzz::contract {

class Unload final : public RuleFamily {
 public:
  Unload(trace::Recorder& recorder, FindingSink& sink);
  void reset() override;
  void on_event(const trace::Event& event) override;

 private:
  struct Registration {
    trace::ModuleNumber module = 0;
    nmr::Role role = nmr::Role::kClient;
    nmr::RegistrationState state = nmr::RegistrationState::kNone;
    bool waited = false;              // a wait for it was entered
    std::uint64_t registered_at = 0;  // events
    std::uint64_t deregistered_at = 0;
    trace::ThreadNumber deregistered_by = 0;
    bool before_unload = false;  // deregistered before DriverUnload was entered
    bool after_unload = false;   // registered after that
  };
  struct Block {
    trace::ModuleNumber module = 0;
    std::uint64_t allocated_at = 0;
    bool live = false;
  };

  Registration& registration(trace::ObjectNumber number);
  void on_wait(const trace::Event& event);
  void on_left(const trace::Event& event, bool entry_failed);
  void on_image_gone(const trace::Event& event);
  void on_left_over(const trace::Event& event);
  std::string_view rule_for_pending(const Registration& left, const trace::Event& event, bool entry_failed) const;
  std::string_view rule_for_registered(const Registration& left, bool entry_failed);

  std::vector<Registration> registrations_;  // by number
  std::vector<Block> blocks_;                // by number
  std::bitset<1U << 8> unloading_;           // by module: DriverUnload was entered
  std::bitset<1U << 8> entry_failed_;        // by module: DriverEntry returned a failure
};

}  // namespace nmrfuzz::contract
