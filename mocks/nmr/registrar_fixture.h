// registrar_fixture.h - for tests of the registrar: a machine with a kernel, the registrar on it, the reference model
// beside it, and parties (registrations) whose callbacks are C++ functions.
//
// The model judges what is in the event stream. The bench judges what is not: pointers that must come back bit for bit,
// locks held where none may be, callbacks after the wait, IRQLs that rise by themselves. All that either has to say is
// in complaints(). Thread safety: none; one execution at a time. Callbacks run on simulated threads: what they own is
// lost when an execution is cut short.
#pragma once

#include <fmt/format.h>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel/kernel.h"
#include "nmr/calls.h"
#include "nmr/model_options.h"
#include "nmr/reference_model.h"
#include "nmr/registrar.h"
#include "nmr/test_port.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::nmr {

using TestRegistrar = Registrar<TestPort>;

struct Party;

// A binding as its two sides know it.
struct Pair {
  struct Side {
    Party* party = nullptr;
    void* context = nullptr;
    const void* dispatch = nullptr;
    bool accepted = false;           // this side said yes
    bool completed = false;          // *DetachComplete was or is being called
    bool up_for_completion = false;  // its detach callback was entered, and any thread may complete
    ThreadNumber owed_by = 0;        // who is to complete it, where that is a thread with other things to do
    std::uint32_t detaches = 0;
    std::uint32_t cleanups = 0;
    bool detach_runs = false;
  };
  ObjectNumber number = 0;
  void* handle = nullptr;
  std::array<Side, 2> sides;

  Side& side(Role role) { return sides[index_of(role)]; }
};

// A callback being run.
struct Call {
  Party& party;
  Pair& pair;
  Role role;
  void** context_output = nullptr;  // of the provider's attach callback
  const void** dispatch_output = nullptr;

  Pair::Side& own() { return pair.side(role); }
};

// A registration of a test. Without functions it accepts every offer and detaches at once.
struct Party {
  Role role = Role::kClient;
  ModuleNumber module = 1;
  std::array<std::uint64_t, 2> npi{};
  bool has_cleanup = true;
  bool sizes_are_right = true;  // of the structures that Register is given
  std::function<Status(Call&)> attach;
  std::function<Status(Call&)> detach;
  std::function<void(Call&)> cleanup;

  std::size_t slot = 0;
  void* context = nullptr;
  int instance = 0;  // its address stands for the registration instance
  void* handle = nullptr;
  Status status = kernel::kStatusUnsuccessful;  // of Register
  bool deregister_called = false;
  bool deregistered = false;  // Deregister has returned without an error
  bool closed = false;        // the wait has returned, or Deregister returned STATUS_SUCCESS
  std::uint32_t callbacks_running = 0;
  ThreadNumber leaver = 0;  // who deregisters it and will then complete what it owes
};

class RegistrarBench {
 public:
  static constexpr std::size_t kParties = 24;

  RegistrarBench() : previous_(kernel::set_current_kernel(&kernel)) { model.observe(recorder); }
  ~RegistrarBench() {
    kernel::set_current_kernel(previous_);
    recorder.unsubscribe(model);
  }
  RegistrarBench(const RegistrarBench&) = delete;
  RegistrarBench& operator=(const RegistrarBench&) = delete;

  // --- One execution: begin, enter, start threads, run ---------------------------------------------------------------

  // Forgets the previous execution. Decisions may be drawn from here on.
  void begin(schedule::Strategy& strategy, std::uint64_t seed, Mutant mutant = Mutant::kNone) {
    recorder.reset();
    strategy.begin(seed);
    scheduler.reset(strategy, kStepLimit);
    watch = {};
    watch.mutant = mutant;
    parties.clear();
    pairs_.clear();
    threads_.clear();
    entry_irql_ = {};
    next_value_ = 0;
    in_force = this;
  }
  void enter(const World& world, bool faults) {
    kernel.reset({.faults = faults});
    registrar.reset(world);
    model.reset(options_of(world));
  }
  // A party that has not registered yet.
  Party& add(Role role, std::array<std::uint64_t, 2> npi = {1, 1}, ModuleNumber module = 1) {
    Party& added = parties.emplace_back();
    added.slot = parties.size() - 1;
    added.role = role;
    added.npi = npi;
    added.module = module;
    added.context = fresh_value();
    return added;
  }
  // A simulated thread of `module`.
  void start(ModuleNumber module, std::function<void()> body, std::uint8_t irql = kernel::kPassiveLevel,
             schedule::ThreadRole role = schedule::ThreadRole::kTest) {
    Thread& thread = threads_.emplace_back(Thread{this, module, irql, std::move(body)});
    kernel.spawn(
        role,
        [](void* argument) {
          const Thread& started = *static_cast<const Thread*>(argument);
          RegistrarBench& bench = *started.bench;
          bench.entry_irql_[bench.scheduler.current().number] = started.irql;
          bench.kernel.call_into(started.module, Routine::ThreadRoutine, [&] { started.body(); });
          bench.entry_irql_[bench.scheduler.current().number] = kernel::kPassiveLevel;  // for the number's next user
        },
        &thread, irql);
  }
  schedule::EndReason run() {
    const schedule::EndReason reason = scheduler.run();
    model.finish(reason == schedule::EndReason::kAllEnded);
    watch.expect(
        watch.callbacks_made == watch.callbacks_announced, "G10, G14",
        fmt::format("{} callbacks were announced and {} made", watch.callbacks_announced, watch.callbacks_made));
    watch.expect(reason != schedule::EndReason::kStopped || model.has_stopped(), "section 6 A11, A27",
                 "the registrar stops the machine without a reason");
    in_force = nullptr;
    return reason;
  }
  std::vector<std::string> complaints() const {
    std::vector<std::string> all = model.disagreements();
    all.insert(all.end(), watch.complaints.begin(), watch.complaints.end());
    return all;
  }

  // --- The entry points, on a simulated thread of the party's module ---------------------------------------------------

  Status register_party(Party& party) {
    const Outside outside(*this);
    const Callbacks callbacks = {
        party.role == Role::kClient ? kTrampolines[party.slot].client_attach : kTrampolines[party.slot].provider_attach,
        kTrampolines[party.slot].detach, party.has_cleanup ? kTrampolines[party.slot].cleanup : nullptr};
    party.status = registrar.register_module(
        party.role, {&party, nullptr, nullptr, &party.instance, party.npi, callbacks, party.sizes_are_right},
        party.context, &party.handle);
    const bool refuses = registrar.world().check_sizes == CheckSizes::kRefuse && !party.sizes_are_right;
    watch.expect((party.status == kernel::kStatusInvalidParameter) == refuses, "section 6 A21",
                 "Register refuses sizes that it should take, or the reverse");
    return party.status;
  }
  Status deregister(Party& party) {
    const Outside outside(*this);
    party.deregister_called = true;
    const Status status = registrar.deregister(party.role, party.handle);
    party.deregistered = party.deregistered || kernel::succeeded(status);
    party.closed = party.closed || status == kernel::kStatusSuccess;
    return status;
  }
  Status wait(Party& party) {
    const Outside outside(*this);
    const Status status = registrar.wait_for_deregister(party.role, party.handle);
    if (status == kernel::kStatusSuccess) {
      party.closed = true;
      watch.expect(party.callbacks_running == 0 || drains_early(), "G20",
                   "the wait returned during a callback of the registration");
    }
    return status;
  }
  // NmrClientAttachProvider from inside a client's attach callback.
  Status attach_provider(Call& call, void* context, const void* dispatch) {
    const Outside outside(*this);
    void* const untouched = fresh_value();
    void* provider_context = untouched;
    const void* provider_dispatch = untouched;
    call.own().context = context;
    call.own().dispatch = dispatch;
    const Status status =
        registrar.client_attach_provider(call.pair.handle, context, dispatch, &provider_context, &provider_dispatch);
    const Pair::Side& provider = call.pair.side(Role::kProvider);
    if (status == kernel::kStatusSuccess) {
      watch.expect(provider.accepted, "G3", "the attach call succeeds although the provider did not accept");
      watch.expect(provider_context == provider.context && provider_dispatch == provider.dispatch, "G3",
                   "the attach call hands out other outputs than the provider set");
    } else {
      watch.expect(provider_context == untouched && provider_dispatch == untouched, "section 11",
                   "a failed attach call writes its outputs");
    }
    return status;
  }
  Status attach_provider(Call& call) { return attach_provider(call, fresh_value(), fresh_value()); }
  void complete(Pair& pair, Role role) {
    const Outside outside(*this);
    pair.side(role).completed = true;
    registrar.detach_complete(role, pair.handle);
  }

  // What a callback does that has no reason to do anything else.
  Status accept(Call& call) {
    if (call.role == Role::kClient) {
      return attach_provider(call);
    }
    *call.context_output = fresh_value();
    *call.dispatch_output = fresh_value();
    return kernel::kStatusSuccess;
  }
  // STATUS_PENDING, and a thread that completes the detach.
  Status pend(Call& call, std::uint8_t irql = kernel::kPassiveLevel) {
    Pair& pair = call.pair;
    const Role role = call.role;
    start(call.party.module, [this, &pair, role] { complete(pair, role); }, irql);
    return kernel::kStatusPending;
  }
  // A whole life: register, deregister, wait.
  void live(Party& party) {
    if (register_party(party) == kernel::kStatusSuccess) {
      leave(party);
    }
  }
  void leave(Party& party) {
    if (deregister(party) == kernel::kStatusPending) {
      wait(party);
    }
  }
  // A value that was never used before in this execution, and is no address.
  void* fresh_value() { return reinterpret_cast<void*>(0x1000'0000 + 16 * ++next_value_); }
  void pause() { scheduler.point({}); }
  std::uint32_t choose(std::uint32_t alternatives) {
    return scheduler.choose(alternatives, schedule::ChoiceKind::kScenario);
  }
  std::deque<Pair>& pairs() { return pairs_; }

 private:
  static constexpr std::uint64_t kStepLimit = 50'000;

  struct Thread {
    RegistrarBench* bench;
    ModuleNumber module;
    std::uint8_t irql;
    std::function<void()> body;
  };
  // A call of the registrar: what it runs on this thread may not run above the IRQL of now (G13).
  class Outside {
   public:
    explicit Outside(RegistrarBench& bench)
        : irql_(bench.entry_irql_[bench.scheduler.current().number]), before_(irql_) {
      irql_ = bench.kernel.irql();
    }
    ~Outside() { irql_ = before_; }
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;

   private:
    std::uint8_t& irql_;
    std::uint8_t before_;
  };

  // --- Callbacks: one set of functions per party ------------------------------------------------------------------------

  struct Trampolines {
    void* client_attach;
    void* provider_attach;
    void* detach;
    void* cleanup;
  };
  template <std::size_t kSlot>
  static Trampolines trampolines() {
    const ClientAttachFunction client_attach = [](void* handle, void* context, const void* instance) {
      return in_force->enter_client_attach(in_force->parties[kSlot], handle, context, instance);
    };
    const ProviderAttachFunction provider_attach = [](void* handle, void* context, const void* instance,
                                                      void* client_context, const void* client_dispatch,
                                                      void** context_output, const void** dispatch_output) {
      return in_force->enter_provider_attach(in_force->parties[kSlot], handle, context, instance, client_context,
                                             client_dispatch, context_output, dispatch_output);
    };
    const DetachFunction detach = [](void* context) {
      return in_force->enter_detach(in_force->parties[kSlot], context);
    };
    const CleanupFunction cleanup = [](void* context) { in_force->enter_cleanup(in_force->parties[kSlot], context); };
    return {reinterpret_cast<void*>(client_attach), reinterpret_cast<void*>(provider_attach),
            reinterpret_cast<void*>(detach), reinterpret_cast<void*>(cleanup)};
  }
  template <std::size_t... kSlots>
  static std::array<Trampolines, kParties> all_trampolines(std::index_sequence<kSlots...>) {
    return {trampolines<kSlots>()...};
  }
  static inline const std::array<Trampolines, kParties> kTrampolines =
      all_trampolines(std::make_index_sequence<kParties>());
  static inline RegistrarBench* in_force = nullptr;

  bool drains_early() const { return registrar.world().drain_point == DrainPoint::kAfterDetachUnsafe; }
  Pair& pair(ObjectNumber number) {
    while (pairs_.size() < number) {
      pairs_.emplace_back().number = static_cast<ObjectNumber>(pairs_.size());
    }
    return pairs_[number - 1];
  }
  // Runs `function` as a callback of `party`.
  template <class Function>
  auto inside(Party& party, std::uint8_t irql_allowed, Function function) {
    watch.expect(!party.closed || drains_early(), "G20, G21", "a callback of a registration that is gone");
    watch.expect(kernel.irql() <= irql_allowed, "G4, G13",
                 fmt::format("a callback at IRQL {} where {} is the highest", kernel.irql(), irql_allowed));
    ++party.callbacks_running;
    ++watch.callbacks_made;
    if constexpr (std::is_void_v<decltype(function())>) {
      function();
      --party.callbacks_running;
    } else {
      const auto result = function();
      --party.callbacks_running;
      return result;
    }
  }
  Party* owner_of(const void* instance) {
    for (Party& party : parties) {
      if (&party.instance == instance) {
        return &party;
      }
    }
    watch.expect(false, "G6", "the registration instance is not the other side's own");
    return nullptr;
  }

  Status enter_client_attach(Party& party, void* handle, void* context, const void* instance) {
    return inside(party, kernel::kPassiveLevel, [&] {
      Pair& offered = pair(watch.entered);
      watch.expect(handle != nullptr && handle == make_handle(HandleKind::kBinding, watch.entered), "G5",
                   "the binding handle is not that of the offer");
      watch.expect(context == party.context, "G7", "the client's attach callback got another context");
      Party* const provider = owner_of(instance);
      watch.expect(provider != nullptr && provider->npi == party.npi && provider->role == Role::kProvider, "G2",
                   "two registrations were paired that do not belong together");
      offered.handle = handle;
      offered.side(Role::kClient).party = &party;
      offered.side(Role::kProvider).party = provider;
      Call call{party, offered, Role::kClient};
      const Status status = party.attach ? party.attach(call) : accept(call);
      offered.side(Role::kClient).accepted = status == kernel::kStatusSuccess;
      return status;
    });
  }
  Status enter_provider_attach(Party& party, void* handle, void* context, const void* instance, void* client_context,
                               const void* client_dispatch, void** context_output, const void** dispatch_output) {
    return inside(party, kernel::kPassiveLevel, [&] {
      Pair& asked = pair(watch.entered);
      const Pair::Side& client = asked.side(Role::kClient);
      watch.expect(handle == asked.handle, "G5", "the two sides know different handles");
      watch.expect(context == party.context, "G7", "the provider's attach callback got another context");
      watch.expect(asked.side(Role::kProvider).party == &party, "G3", "another provider was asked than was offered");
      watch.expect(owner_of(instance) == client.party, "G6", "the provider is shown another instance");
      watch.expect(client_context == client.context && client_dispatch == client.dispatch, "G7",
                   "the provider got other pointers than the client supplied");
      Call call{party, asked, Role::kProvider, context_output, dispatch_output};
      const Status status = party.attach ? party.attach(call) : accept(call);
      asked.side(Role::kProvider).accepted = status == kernel::kStatusSuccess;
      asked.side(Role::kProvider).context = *context_output;
      asked.side(Role::kProvider).dispatch = *dispatch_output;
      return status;
    });
  }
  Status enter_detach(Party& party, void* context) {
    const bool raised = registrar.world().detach_irql == DetachIrql::kDispatch;
    return inside(party, raised ? kernel::kDispatchLevel : entry_irql(), [&] {
      Pair& left = pair(watch.entered);
      Call call{party, left, party.role};
      Pair::Side& own = call.own();
      watch.expect(own.party == &party, "G7", "another registration is told to detach");
      watch.expect(context == own.context, "G7", "the detach callback got another context");
      watch.expect(own.detaches++ == 0, "G10", "a detach callback was called twice");
      watch.expect(
          registrar.world().detach_order == DetachOrder::kOverlap || !left.side(opposite(call.role)).detach_runs, "G30",
          "both detach callbacks of a binding run at once");
      own.detach_runs = true;
      const Status status = party.detach ? party.detach(call) : kernel::kStatusSuccess;
      own.detach_runs = false;
      return status;
    });
  }
  void enter_cleanup(Party& party, void* context) {
    const bool raised = registrar.world().cleanup_where == CleanupWhere::kDispatch;
    inside(party, raised ? kernel::kDispatchLevel : entry_irql(), [&] {
      Pair& left = pair(watch.entered);
      Call call{party, left, party.role};
      watch.expect(call.own().party == &party, "G7", "another registration is told to clean up");
      watch.expect(context == call.own().context, "G7", "the cleanup callback got another context");
      watch.expect(call.own().cleanups++ == 0, "G14", "a cleanup callback was called twice");
      for (const Pair::Side& side : left.sides) {
        watch.expect(!side.detach_runs, "G15", "cleanup during a detach callback");
      }
      if (party.cleanup) {
        party.cleanup(call);
      }
    });
  }
  std::uint8_t entry_irql() { return entry_irql_[scheduler.current().number]; }

  std::unique_ptr<trace::EventRing> ring_ = std::make_unique<trace::EventRing>();
  std::unique_ptr<schedule::DecisionLog> decisions_ = std::make_unique<schedule::DecisionLog>();
  std::deque<Pair> pairs_;
  std::deque<Thread> threads_;
  std::array<std::uint8_t, schedule::kThreadsMaximum> entry_irql_{};
  std::uint64_t next_value_ = 0;

 public:
  trace::Recorder recorder{*ring_};
  schedule::Scheduler scheduler{recorder, *decisions_};
  kernel::Kernel kernel{scheduler};
  PortWatch watch;
  TestRegistrar registrar{TestPort(kernel, watch)};
  ReferenceModel model;
  std::deque<Party> parties;

 private:
  kernel::Kernel* previous_;
};

}  // namespace nmrfuzz::nmr
