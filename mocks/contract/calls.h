// calls.h - calls through the other side's dispatch table: R43, R55, R58, R63, R66, R71, R87.
//
// A module may call the other side of a binding from the moment it has been given the table (A29) until its own side is
// done: its detach callback has returned STATUS_SUCCESS, or it has called its *DetachComplete. Calls that begin after
// its detach callback was entered are lawful until then, since counting and entering are two steps (A31). Judged are
// calls that go to a peer of ours; its table tells which binding is meant. Where bindings share a table, the peer's
// context does, and a call without one is not judged.
//
// Silent: calls that an NPI function leaves pending (R60), since only the NPI says which do.
#pragma once

#include <array>
#include <vector>

#include "contract/rule.h"
#include "nmr/states.h"

namespace nmrfuzz::contract {

class Calls final : public RuleFamily {
 public:
  Calls(trace::Recorder& recorder, FindingSink& sink);
  void reset() override;
  void on_event(const trace::Event& event) override;

 private:
  enum class Use : std::uint8_t {
    kForbidden,  // never attached, or refused
    kAllowed,
    kOver,  // this side is done
  };
  // One side of a binding, as a caller.
  struct Side {
    Use use = Use::kForbidden;
    bool cleans_up = false;
    trace::ThreadNumber cleanup_thread = 0;  // of its running cleanup callback, where cleans_up
  };
  struct Binding {
    std::array<Side, 2> sides;  // by nmr::Role
    bool peer_provides = false;
  };
  // The call that a thread is in.
  struct Call {
    trace::ObjectNumber binding = 0;  // 0: none, or of an unknown binding
    std::size_t side = 0;
    std::uint64_t entered = 0;  // number of its event
  };
  // Whose context a number stands for.
  struct Owner {
    trace::ObjectNumber binding = 0;
    std::uint8_t caller = 0;  // the side that passes it
    bool several = false;     // peers may choose what they like, equal values included
  };

  Binding& at(trace::ObjectNumber binding);
  void on_call(const trace::Event& event);
  void on_call_end(const trace::Event& event);
  std::string_view breach_of(const trace::Event& event, trace::ObjectNumber binding);
  void on_callback_enter(const trace::Event& event);
  void on_callback_exit(const trace::Event& event);
  void on_complete(const trace::Event& event);
  void end_use(const trace::Event& event, std::size_t side, Use use, std::string_view rule);
  void learn_context(std::uint64_t number, trace::ObjectNumber binding, nmr::Role caller);
  Owner owner_of(std::uint64_t context) const { return context < owners_.size() ? owners_[context] : Owner{}; }

  std::vector<Binding> bindings_;  // by number
  std::vector<Call> calls_;        // by thread; as short as the last thread that called
  std::vector<Owner> owners_;      // by number of the context
};

}  // namespace nmrfuzz::contract
