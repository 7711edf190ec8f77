// scenario_completions.h - part of the registrar's scenarios: who completes a pending detach, on what kind of thread,
// and when.
//
// Kinds of threads: the caller's (one that also registers, deregisters or waits), a DPC at DISPATCH_LEVEL, a work item,
// and a thread of the other side that has entered the module. A thread completes what it owes before it waits (R106).
#pragma once

#include <functional>
#include <utility>

#include "nmr/registrar_fixture.h"

namespace nmrfuzz::nmr {

class ScenarioCompletions {
 protected:
  explicit ScenarioCompletions(RegistrarBench& bench) : bench_(bench) {}
  ~ScenarioCompletions() = default;

  std::uint32_t choose(std::uint32_t alternatives) { return bench_.choose(alternatives); }
  bool one_in(std::uint32_t odds) { return choose(odds) == odds - 1; }
  void linger() {
    for (std::uint32_t left = choose(4); left != 0; --left) {
      bench_.pause();
    }
  }

  // Runs `body` as code of `module` on a thread of any kind but the caller's.
  void start_elsewhere(ModuleNumber module, std::function<void()> body) {
    using schedule::ThreadRole;
    static constexpr std::array<std::pair<ThreadRole, std::uint8_t>, 4> kKinds = {{
        {ThreadRole::kWorker, kernel::kPassiveLevel},
        {ThreadRole::kDpc, kernel::kDispatchLevel},
        {ThreadRole::kPeer, kernel::kPassiveLevel},
        {ThreadRole::kPeer, kernel::kDispatchLevel},
    }};
    const auto [role, irql] = kKinds[choose(kKinds.size())];
    bench_.start(module, std::move(body), irql, role);
  }

  // --- A detach callback that returns STATUS_PENDING ---------------------------------------------------------------

  // Leaves the completion to whoever comes first: any thread of the module, or one of its own that may take its time.
  void pend(Call& call) {
    call.own().up_for_completion = true;
    const std::uint32_t delay = one_in(3) ? 30 : 0;
    start_elsewhere(call.party.module, [this, &pair = call.pair, role = call.role, delay] {
      for (std::uint32_t left = delay; left != 0; --left) {
        bench_.pause();
      }
      if (!pair.side(role).completed) {
        bench_.complete(pair, role);
      }
    });
  }
  // Leaves it to the thread that runs the callback, if it is inside Deregister and will come by before its wait.
  bool owe(Call& call) {
    const ThreadNumber self = bench_.scheduler.current().number;
    if (call.party.leaver != self) {
      return false;
    }
    call.own().owed_by = self;
    return true;
  }
  // Lets any thread of the module complete while the callback still runs.
  void offer_completion(Call& call) {
    Pair::Side& own = call.own();
    own.up_for_completion = true;
    if (one_in(2)) {
      start_elsewhere(call.party.module, [this, module = call.party.module] { take_offered(module); });
    }
    for (std::uint32_t left = choose(12); left != 0; --left) {
      bench_.pause();
    }
    if (!own.completed) {
      pend(call);
    }
  }

  // --- Those who complete for others -------------------------------------------------------------------------------

  void take_offered(ModuleNumber module) {
    complete_where(module, [](const Pair::Side& side) { return side.up_for_completion; });
  }
  // Everything that the current thread owes.
  void complete_owed(ModuleNumber module) {
    const ThreadNumber self = bench_.scheduler.current().number;
    complete_where(module, [self](const Pair::Side& side) { return side.owed_by == self; });
  }
  // What the current thread owes, or one of several may take over: from inside a callback.
  void complete_for_others(ModuleNumber module) {
    if (one_in(3)) {
      take_offered(module);
    }
    if (one_in(3)) {
      complete_owed(module);
    }
  }
  // A side that closes by itself: it completes first, and pends in its detach callback (A8).
  void complete_early(Party& party) {
    for (Pair& pair : bench_.pairs()) {
      Pair::Side& own = pair.side(party.role);
      if (own.party == &party && own.accepted && pair.side(opposite(party.role)).accepted && own.detaches == 0 &&
          !own.completed) {
        bench_.complete(pair, party.role);
        return;
      }
    }
  }

  RegistrarBench& bench_;

 private:
  template <class Wanted>
  void complete_where(ModuleNumber module, Wanted wanted) {
    for (std::size_t i = 0; i < bench_.pairs().size(); ++i) {  // the list may grow meanwhile
      Pair& pair = bench_.pairs()[i];
      for (const Role role : {Role::kClient, Role::kProvider}) {
        const Pair::Side& side = pair.side(role);
        if (side.party != nullptr && side.party->module == module && !side.completed && wanted(side)) {
          bench_.complete(pair, role);
        }
      }
    }
  }
};

}  // namespace nmrfuzz::nmr
