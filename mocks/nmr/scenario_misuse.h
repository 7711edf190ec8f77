// scenario_misuse.h - part of the registrar's scenarios: calls with handles that they may not be made with. Each has to
// be refused, and must not make the registrar break a guarantee.
#pragma once

#include "nmr/scenario_completions.h"

namespace nmrfuzz::nmr {

class ScenarioMisuse : protected ScenarioCompletions {
 protected:
  using ScenarioCompletions::ScenarioCompletions;
  ~ScenarioMisuse() = default;

  // NmrClientAttachProvider where it is not allowed.
  void ask_elsewhere(void* handle) {
    void* context = nullptr;
    const void* dispatch = nullptr;
    const Status status = bench_.registrar.client_attach_provider(handle, nullptr, nullptr, &context, &dispatch);
    bench_.watch.expect(status == kernel::kStatusInvalidParameter, "section 3.3",
                        "NmrClientAttachProvider succeeds where it is not allowed");
  }
  // Any handle there is, or none.
  void* any_handle() {
    switch (choose(4)) {
      case 0:
        return nullptr;
      case 1:
        return reinterpret_cast<void*>(0xdead);
      case 2: {
        void* const handle = bench_.parties[choose(static_cast<std::uint32_t>(bench_.parties.size()))].handle;
        return handle;
      }
      default:
        return bench_.pairs().empty()
                   ? nullptr
                   : bench_.pairs()[choose(static_cast<std::uint32_t>(bench_.pairs().size()))].handle;
    }
  }
  // A handle that no call about registrations may take from this party: that of a live registration of its own role and
  // module is avoided, since the wait or deregistration would be a good one.
  void call_wrongly(Party& party) {
    const auto role = static_cast<Role>(choose(2));
    void* const handle = any_handle();
    switch (choose(4)) {
      case 0:
      case 1: {
        if (is_own_registration(party, role, handle)) {
          return;
        }
        const Status status = choose(2) == 0 ? bench_.registrar.deregister(role, handle)
                                             : bench_.registrar.wait_for_deregister(role, handle);
        bench_.watch.expect(status == kernel::kStatusInvalidParameter, "G22", "a bad handle is accepted");
        return;
      }
      case 2:
        ask_elsewhere(handle);
        return;
      default:
        complete_wrongly(party, role, handle);
        return;
    }
  }
  bool is_own_registration(const Party& party, Role role, const void* handle) {
    for (const Party& other : bench_.parties) {
      if (other.handle == handle && other.module == party.module && other.role == role) {
        return true;
      }
    }
    return false;
  }
  // Not for a side of the caller's own that has yet to complete: that would be a good call.
  void complete_wrongly(const Party& party, Role role, void* handle) {
    for (Pair& pair : bench_.pairs()) {
      const Pair::Side& side = pair.side(role);
      if (pair.handle == handle && (side.party == nullptr || side.party->module == party.module) && !side.completed) {
        return;
      }
    }
    bench_.registrar.detach_complete(role, handle);
  }
};

}  // namespace nmrfuzz::nmr
