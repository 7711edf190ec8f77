// registrar_scenario.h - for tests and the fuzz target: one random life of the registrar, from decisions alone.
//
// Several modules, a few NPIs, registrations in both roles, threads that register, attach, detach, complete, deregister
// and wait, in a random world. A lawful scenario keeps every rule for modules, so it has to come to its end; the
// others also break rules, which must not make the registrar break a guarantee.
#pragma once

#include "nmr/scenario_misuse.h"

namespace nmrfuzz::nmr {

class RegistrarScenario : private ScenarioMisuse {
 public:
  explicit RegistrarScenario(RegistrarBench& bench) : ScenarioMisuse(bench) {}

  // One execution, decided by `strategy`. Returns what the judges have to say.
  std::vector<std::string> run(schedule::Strategy& strategy, std::uint64_t seed, Mutant mutant = Mutant::kNone) {
    bench_.begin(strategy, seed, mutant);
    may_hang_ = false;
    misuses_left_ = 0;
    world = draw();
    if (choose(3) == 2) {
      misuses_left_ = 4;
    }
    bench_.enter(world, choose(4) == 3);
    start_lives();
    const schedule::EndReason reason = bench_.run();
    std::vector<std::string> complaints = bench_.complaints();
    const bool may_end = reason == schedule::EndReason::kAllEnded || reason == schedule::EndReason::kStopped ||
                         (reason == schedule::EndReason::kDeadlock && may_hang_);
    if (!may_end) {
      complaints.push_back(
          fmt::format("G20: the execution does not come to its end (reason {})", static_cast<int>(reason)));
    }
    return complaints;
  }

  World world;

 private:
  // Whether to break a rule now.
  bool misuse(std::uint32_t odds) {
    if (misuses_left_ == 0 || !one_in(odds)) {
      return false;
    }
    --misuses_left_;
    return true;
  }

  // A lawful world; one in four has some switches at any variant, those that exist by name only included.
  World draw() {
    World drawn = draw_world([this](std::uint32_t alternatives) { return choose(alternatives); });
    if (one_in(4)) {
      for (std::uint32_t left = 1 + choose(4); left != 0; --left) {
        const Switch& changed = switches()[choose(static_cast<std::uint32_t>(switches().size()))];
        changed.field(drawn) = static_cast<std::uint8_t>(choose(static_cast<std::uint32_t>(changed.variants.size())));
      }
    }
    if (one_in(6)) {
      drawn.deregister_error = DeregisterError::kInjectOnce;
    }
    return drawn;
  }

  // --- Lives -----------------------------------------------------------------------------------------------------------

  // Two to seven registrations, on two to seven threads; a client and a provider of one NPI among them.
  void start_lives() {
    const std::uint32_t count = 2 + choose(6);
    Party* previous = nullptr;
    for (std::uint32_t i = 0; i < count; ++i) {
      const Role role = i < 2 ? static_cast<Role>(i) : static_cast<Role>(choose(2));
      Party& party = add(role, i < 2 ? 0 : choose(4), static_cast<ModuleNumber>(i < 2 ? i + 1 : choose(4)));
      if (previous != nullptr && one_in(3)) {
        party.module = previous->module;
        bench_.start(party.module, [this, previous, &party] { live_together(*previous, party); });
        previous = nullptr;
      } else {
        if (previous != nullptr) {
          start_life(*previous);
        }
        previous = &party;
      }
    }
    if (previous != nullptr) {
      start_life(*previous);
    }
  }
  Party& add(Role role, std::uint32_t npi, ModuleNumber module) {
    // The second differs from the first in its last half only, the third in both.
    static constexpr std::array<std::array<std::uint64_t, 2>, 4> kNpis = {{{1, 1}, {1, 1}, {1, 2}, {7, 7}}};
    Party& party = bench_.add(role, kNpis[npi], module);
    party.has_cleanup = !one_in(5);
    party.sizes_are_right = world.check_sizes == CheckSizes::kReport || !one_in(3);
    party.attach = [this](Call& call) {
      return call.role == Role::kClient ? attach_client(call) : attach_provider(call);
    };
    party.detach = [this](Call& call) { return detach(call); };
    party.cleanup = [this](Call& call) { clean_up(call); };
    return party;
  }
  void start_life(Party& party) {
    bench_.start(party.module, [this, &party] { live(party); });
  }
  void live(Party& party) {
    linger();
    if (bench_.register_party(party) != kernel::kStatusSuccess) {
      return;
    }
    stay(party);
    begin_leaving(party);
    finish_leaving(party);
    if (one_in(4) && bench_.parties.size() < RegistrarBench::kParties) {
      live(add(party.role, choose(4), party.module));
    }
  }
  // Begins both deregistrations, then waits for both, in any order.
  void live_together(Party& first, Party& second) {
    const bool has_first = bench_.register_party(first) == kernel::kStatusSuccess;
    const bool has_second = bench_.register_party(second) == kernel::kStatusSuccess;
    if (has_first) {
      stay(first);
      begin_leaving(first);
    }
    if (has_second) {
      stay(second);
      begin_leaving(second);
    }
    const bool swapped = choose(2) == 1;
    for (Party* const party : {swapped ? &second : &first, swapped ? &first : &second}) {
      if (party == &first ? has_first : has_second) {
        finish_leaving(*party);
      }
    }
  }
  void stay(Party& party) {
    linger();
    if (one_in(3) && world.early_complete == EarlyComplete::kRemember) {
      if (one_in(2)) {
        start_elsewhere(party.module, [this, &party] { complete_early(party); });
      } else {
        complete_early(party);
      }
    }
    if (one_in(3)) {
      take_offered(party.module);
    }
    if (misuse(2)) {
      call_wrongly(party);
    }
    if (misuse(3)) {
      bench_.wait(party);  // R99, unless another thread has begun to deregister it
    }
  }
  void begin_leaving(Party& party) {
    if (party.deregister_called) {
      return;
    }
    if (one_in(5)) {
      party.deregister_called = true;
      start_elsewhere(party.module, [this, &party] { deregister(party); });
      return;
    }
    party.leaver = bench_.scheduler.current().number;
    deregister(party);
    party.leaver = 0;
  }
  void deregister(Party& party) {
    const std::uint8_t irql = bench_.kernel.irql();
    if (one_in(4)) {
      bench_.kernel.set_irql(kernel::kDispatchLevel);
    }
    if (bench_.deregister(party) == kernel::kStatusInsufficientResources) {
      bench_.deregister(party);  // dereg_error=inject_once
    }
    bench_.kernel.set_irql(irql);
  }
  void finish_leaving(Party& party) {
    while (!party.deregistered) {  // another thread is about to
      bench_.scheduler.yield({});
    }
    if (misuse(4)) {
      bench_.start(party.module, [this, &party] { bench_.wait(party); });
    }
    if (one_in(3)) {
      take_offered(party.module);
    }
    if (!party.closed && one_in(4)) {
      bench_.start(party.module, [this, &party] { bench_.wait(party); });
      linger();
      complete_owed(party.module);
      return;
    }
    complete_owed(party.module);
    if (!party.closed || misuse(2)) {
      bench_.wait(party);
    }
    if (misuse(4)) {
      call_wrongly(party);
    }
  }

  // --- Attach ----------------------------------------------------------------------------------------------------------

  Status attach_client(Call& call) {
    linger();
    reenter(call);
    if (misuse(2)) {
      return attach_client_wrongly(call);
    }
    switch (choose(6)) {
      case 0:
        return kernel::kStatusNoInterface;
      case 1: {
        const Status status = ask(call);
        return status == kernel::kStatusSuccess ? status : ask(call);
      }
      default:
        return ask(call);
    }
  }
  Status ask(Call& call) {
    void* const context = draw_context();
    const Status status = bench_.attach_provider(call, context, one_in(4) ? nullptr : bench_.fresh_value());
    linger();
    return status;
  }
  void* draw_context() {
    switch (choose(4)) {
      case 0:
        return nullptr;
      case 1:
        return reinterpret_cast<void*>(1);  // the same for several bindings
      default:
        return bench_.fresh_value();
    }
  }
  Status attach_client_wrongly(Call& call) {
    switch (choose(7)) {
      case 0:
        return kernel::kStatusSuccess;  // R37
      case 1:
        return kernel::kStatusPending;  // R38
      case 2:
        ask(call);
        return kernel::kStatusUnsuccessful;  // R39
      case 3: {                              // R46
        const Status status = ask(call);
        if (status == kernel::kStatusSuccess) {
          ask_elsewhere(call.pair.handle);
        }
        return status;
      }
      case 4:  // R32
        bench_.start(call.party.module, [this, handle = call.pair.handle] { ask_elsewhere(handle); });
        linger();
        return ask(call);
      case 5:
        ask_elsewhere(call.party.handle);
        return kernel::kStatusNoInterface;  // R33
      default:
        ask(call);
        return kernel::kStatusPending;
    }
  }
  Status attach_provider(Call& call) {
    linger();
    reenter(call);
    if (misuse(3)) {
      return one_in(2) ? kernel::kStatusPending : kernel::kStatusSuccess;  // R50, R49
    }
    switch (choose(6)) {
      case 0:
        return kernel::kStatusNoInterface;
      case 1:
        return kernel::kStatusDeviceNotReady;
      default:
        break;
    }
    *call.context_output = draw_context();
    *call.dispatch_output = one_in(4) ? nullptr : bench_.fresh_value();
    return kernel::kStatusSuccess;
  }

  // --- Detach ----------------------------------------------------------------------------------------------------------

  Status detach(Call& call) {
    const bool completed = call.own().completed;  // early
    linger();
    reenter(call);
    if (completed) {
      return misuse(2) ? kernel::kStatusSuccess : kernel::kStatusPending;  // R70
    }
    if (misuse(2)) {
      return detach_wrongly(call);
    }
    complete_for_others(call.party.module);
    switch (choose(6)) {
      case 0:
        return kernel::kStatusSuccess;
      case 1:
        bench_.complete(call.pair, call.role);
        break;
      case 2:
        offer_completion(call);
        break;
      case 3:
        if (!owe(call)) {
          pend(call);
        }
        break;
      default:
        pend(call);
        break;
    }
    linger();
    return kernel::kStatusPending;
  }
  Status detach_wrongly(Call& call) {
    switch (choose(5)) {
      case 0:
        return kernel::kStatusUnsuccessful;  // R65
      case 1:
        bench_.complete(call.pair, call.role);
        return kernel::kStatusSuccess;  // R70
      case 2:                           // R69
        bench_.complete(call.pair, call.role);
        bench_.complete(call.pair, call.role);
        return kernel::kStatusPending;
      case 3:  // R73, then as it should be
        bench_.registrar.detach_complete(opposite(call.role), call.pair.handle);
        return bench_.pend(call);
      default:  // R68
        may_hang_ = true;
        return kernel::kStatusPending;
    }
  }
  void clean_up(Call& call) {
    linger();
    if (misuse(4)) {
      bench_.registrar.detach_complete(call.role, call.pair.handle);  // R87
    }
    reenter(call);
  }
  // Callbacks may call the registrar about other registrations of their module (G17).
  void reenter(const Call& call) {
    if (!one_in(6)) {
      return;
    }
    if (bench_.kernel.irql() == kernel::kPassiveLevel && one_in(2)) {
      if (bench_.parties.size() < RegistrarBench::kParties) {
        Party& added = add(static_cast<Role>(choose(2)), choose(4), call.party.module);
        if (bench_.register_party(added) == kernel::kStatusSuccess) {
          bench_.start(added.module, [this, &added] {
            begin_leaving(added);
            finish_leaving(added);
          });
        }
      }
      return;
    }
    for (Party& party : bench_.parties) {
      if (party.module == call.party.module && party.handle != nullptr && !party.deregister_called &&
          &party != &call.party) {
        deregister(party);
        return;
      }
    }
  }

  bool may_hang_ = false;
  std::uint32_t misuses_left_ = 0;
};

}  // namespace nmrfuzz::nmr
