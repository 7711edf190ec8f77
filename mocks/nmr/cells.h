// cells.h - for tests: which combinations of moment, side and thread detaches were completed in, and which state
// followed which, counted from the event stream.
//
// Thread safety: none. Subscribed to one recorder, which must outlive it or be left with unsubscribe.
#pragma once

#include <array>
#include <map>
#include <string>

#include "kernel/routine.h"
#include "nmr/states.h"
#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::nmr {

// When a side's detach is completed, seen from its detach callback, its Deregister and its wait.
enum class Moment : std::uint8_t {
  kBeforeCallback,
  kInsideCallback,    // by the thread that runs it
  kBeforeReturn,      // while it runs, by another thread
  kAfterOtherWait,    // behind it, and behind another wait of the module that returned meanwhile
  kBeforeDeregister,  // behind it, before a Deregister of one of the two registrations has returned
  kInWait,            // behind that, while somebody waits for one of the two
  kBetween,           // behind that, while nobody waits
};
inline constexpr std::array<const char*, 7> kMoments = {
    "before the callback",        "inside the callback", "before its return",          "after another NPI's wait",
    "before Deregister's return", "in the wait",         "between Deregister and wait"};

// The registrar's own threads run callbacks in some worlds; what completes there does so from inside one.
enum class Completer : std::uint8_t { kCaller, kDpc, kWorker, kPeer, kRegistrar };
inline constexpr std::array<const char*, 5> kCompleters = {"caller", "DPC", "worker", "peer's thread",
                                                           "registrar's thread"};
inline constexpr std::array<const char*, 2> kRoles = {"client", "provider"};

class Cells final : public trace::Observer {
 public:
  Cells(trace::Recorder& recorder, const schedule::Scheduler& scheduler) : scheduler_(&scheduler) {
    using Kind = trace::EventKind;
    recorder.subscribe(*this, {Kind::kRegisterEnter, Kind::kOffer, Kind::kCallbackEnter, Kind::kCallbackExit,
                               Kind::kDeregisterEnter, Kind::kDeregisterExit, Kind::kWaitEnter, Kind::kWaitExit,
                               Kind::kComplete, Kind::kRegistrationState, Kind::kBindingState, Kind::kSideState});
  }

  // Before each execution.
  void begin() {
    registrations_.clear();
    bindings_.clear();
  }

  void on_event(const trace::Event& event) override {
    ++now_;
    switch (event.kind) {
      case trace::EventKind::kRegisterEnter:
        registrations_[event.object] = {.module = event.module, .npi = event.a};
        break;
      case trace::EventKind::kOffer:
        bindings_[event.object].registrations = {static_cast<trace::ObjectNumber>(event.a),
                                                 static_cast<trace::ObjectNumber>(event.b)};
        break;
      case trace::EventKind::kDeregisterEnter:
        registrations_[event.object].deregisters += is_valid(event) ? 1 : 0;
        break;
      case trace::EventKind::kDeregisterExit:
        registrations_[event.object].deregisters = 0;
        break;
      case trace::EventKind::kWaitEnter:
        registrations_[event.object].waits += is_valid(event) ? 1 : 0;
        break;
      case trace::EventKind::kWaitExit:
        registrations_[event.object].waits = 0;
        registrations_[event.object].waited_at = now_;
        break;
      case trace::EventKind::kRegistrationState:
        count("registration", event.a, event.b);
        break;
      case trace::EventKind::kBindingState:
        count("binding", event.a, event.b);
        break;
      case trace::EventKind::kSideState:
        count("side", event.a, event.b);
        break;
      default:
        on_binding_event(event);
        break;
    }
  }

  static std::string completion(Moment moment, Role role, Completer completer) {
    return std::string(kRoles[index_of(role)]) + " completes " + kMoments[static_cast<std::size_t>(moment)] + " on " +
           kCompleters[static_cast<std::size_t>(completer)];
  }
  static std::string move(const std::string& what, std::uint64_t from, std::uint64_t to) {
    return what + " from " + std::to_string(from) + " to " + std::to_string(to);
  }
  std::map<std::string, std::uint64_t> seen;

 private:
  struct Registration {
    trace::ModuleNumber module = 0;
    std::uint64_t npi = 0;
    std::uint32_t deregisters = 0;  // calls that run
    std::uint32_t waits = 0;
    std::uint64_t waited_at = 0;
  };
  struct Side {
    bool entered = false;
    trace::ThreadNumber runs_on = 0;  // its detach callback; 0: it does not run
    std::uint64_t returned_at = 0;
  };
  struct Binding {
    std::array<trace::ObjectNumber, 2> registrations{};
    std::array<Side, 2> sides{};
  };

  static bool is_valid(const trace::Event& event) { return static_cast<HandleState>(event.a) == HandleState::kValid; }
  void count(const std::string& what, std::uint64_t from, std::uint64_t to) { ++seen[move(what, from, to)]; }

  void on_binding_event(const trace::Event& event) {
    Binding& binding = bindings_[event.object];
    if (event.kind == trace::EventKind::kComplete) {
      if (is_valid(event)) {
        const Role role =
            event.routine == static_cast<trace::RoutineNumber>(kernel::Routine::NmrClientDetachProviderComplete)
                ? Role::kClient
                : Role::kProvider;
        ++seen[completion(moment_of(binding, role, event.thread), role, completer_of(event))];
      }
      return;
    }
    const auto callback = static_cast<Callback>(event.a);
    if (callback != Callback::kClientDetachProvider && callback != Callback::kProviderDetachClient) {
      return;
    }
    Side& side = binding.sides[callback == Callback::kClientDetachProvider ? 0 : 1];
    side.entered = true;
    side.runs_on = event.kind == trace::EventKind::kCallbackEnter ? event.thread : trace::ThreadNumber{0};
    side.returned_at = now_;
  }

  Moment moment_of(const Binding& binding, Role role, trace::ThreadNumber thread) const {
    const Side& side = binding.sides[index_of(role)];
    if (!side.entered) {
      return Moment::kBeforeCallback;
    }
    if (side.runs_on != 0) {
      return side.runs_on == thread ? Moment::kInsideCallback : Moment::kBeforeReturn;
    }
    const Registration& own = registrations_.at(binding.registrations[index_of(role)]);
    for (const auto& [number, other] : registrations_) {
      if (other.module == own.module && other.npi != own.npi && other.waited_at > side.returned_at) {
        return Moment::kAfterOtherWait;
      }
    }
    const Registration& peer = registrations_.at(binding.registrations[index_of(opposite(role))]);
    if (own.deregisters + peer.deregisters != 0) {
      return Moment::kBeforeDeregister;
    }
    return own.waits + peer.waits != 0 ? Moment::kInWait : Moment::kBetween;
  }
  Completer completer_of(const trace::Event& event) const {
    switch (scheduler_->thread(event.thread).role) {
      case schedule::ThreadRole::kDpc:
        return Completer::kDpc;
      case schedule::ThreadRole::kWorker:
        return Completer::kWorker;
      case schedule::ThreadRole::kRegistrar:
        return Completer::kRegistrar;
      case schedule::ThreadRole::kPeer:
        return Completer::kPeer;
      default:
        return Completer::kCaller;
    }
  }

  const schedule::Scheduler* scheduler_;
  std::uint64_t now_ = 0;
  std::map<trace::ObjectNumber, Registration> registrations_;
  std::map<trace::ObjectNumber, Binding> bindings_;
};

}  // namespace nmrfuzz::nmr
