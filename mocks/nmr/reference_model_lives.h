// reference_model_lives.h - for tests of the reference model: a small writer of event streams, lawful lives, and an
// editor that spoils them.
//
// Numbers follow a pattern, so that a reader can tell them apart: registration N has context 10 + N, binding N the
// client's context 100 + N and the provider's 200 + N. Clients belong to module 1, providers to the environment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/reference_model.h"
#include "nmr/states.h"
#include "trace/event.h"

namespace nmrfuzz::nmr::lives {

using kernel::Status;
using trace::Event;
using trace::EventKind;
using trace::ObjectNumber;

inline constexpr Status kOk = kernel::kStatusSuccess;
inline constexpr Status kPends = kernel::kStatusPending;
inline constexpr Status kDeclines = kernel::kStatusNoInterface;

// What Stream writes for one side of one kind of registration.
struct RoleRow {
  kernel::Routine register_routine, deregister_routine, wait_routine, complete_routine;
  Callback attach, detach, cleanup;
  std::uint64_t binding_context;  // plus the binding's number
};

inline const RoleRow& row_of(Role role) {
  using kernel::Routine;
  static constexpr RoleRow kClient = {.register_routine = Routine::NmrRegisterClient,
                                      .deregister_routine = Routine::NmrDeregisterClient,
                                      .wait_routine = Routine::NmrWaitForClientDeregisterComplete,
                                      .complete_routine = Routine::NmrClientDetachProviderComplete,
                                      .attach = Callback::kClientAttachProvider,
                                      .detach = Callback::kClientDetachProvider,
                                      .cleanup = Callback::kClientCleanupBindingContext,
                                      .binding_context = 100};
  static constexpr RoleRow kProvider = {.register_routine = Routine::NmrRegisterProvider,
                                        .deregister_routine = Routine::NmrDeregisterProvider,
                                        .wait_routine = Routine::NmrWaitForProviderDeregisterComplete,
                                        .complete_routine = Routine::NmrProviderDetachClientComplete,
                                        .attach = Callback::kProviderAttachClient,
                                        .detach = Callback::kProviderDetachClient,
                                        .cleanup = Callback::kProviderCleanupBindingContext,
                                        .binding_context = 200};
  return role == Role::kClient ? kClient : kProvider;
}

// Writes events one after another. Short names: the lives below are read as tables.
class Stream {
 public:
  std::vector<Event> events;

  Stream& on(trace::ThreadNumber thread) {
    thread_ = thread;
    return *this;
  }

  // --- Registrations ---
  Stream& register_enter(Role role, ObjectNumber n, std::uint64_t npi = 1, bool has_cleanup = true) {
    Event& e = add(EventKind::kRegisterEnter, n, npi, 10 + n);
    e.routine = static_cast<trace::RoutineNumber>(row_of(role).register_routine);
    e.status = has_cleanup ? 1 : 0;
    e.module = module_of(role);
    return *this;
  }
  Stream& register_exit(ObjectNumber n, Status status = kOk, std::uint64_t injected = 0) {
    add(EventKind::kRegisterExit, n, injected, 0, status);
    return *this;
  }
  Stream& deregister_enter(Role role, ObjectNumber n, HandleState state = HandleState::kValid) {
    add(EventKind::kDeregisterEnter, n, value(state)).routine =
        static_cast<trace::RoutineNumber>(row_of(role).deregister_routine);
    return *this;
  }
  Stream& deregister_exit(ObjectNumber n, Status status = kPends) {
    add(EventKind::kDeregisterExit, n, 0, 0, status);
    return *this;
  }
  Stream& wait_enter(Role role, ObjectNumber n, std::uint64_t left, HandleState state = HandleState::kValid) {
    add(EventKind::kWaitEnter, n, value(state), left).routine =
        static_cast<trace::RoutineNumber>(row_of(role).wait_routine);
    return *this;
  }
  Stream& wait_exit(ObjectNumber n, Status status = kOk) {
    add(EventKind::kWaitExit, n, 0, 0, status);
    return *this;
  }
  // A chain of claims.
  Stream& moves(ObjectNumber n, std::initializer_list<RegistrationState> chain) {
    return chain_of(EventKind::kRegistrationState, n, chain, 0);
  }

  // --- Bindings ---
  Stream& offer(ObjectNumber n, ObjectNumber client, ObjectNumber provider) {
    add(EventKind::kOffer, n, client, provider);
    return *this;
  }
  Stream& enter(Callback callback, ObjectNumber n, std::uint64_t context) {
    add(EventKind::kCallbackEnter, n, value(callback), context).module =
        module_of(callback < Callback::kProviderAttachClient ? Role::kClient : Role::kProvider);
    return *this;
  }
  Stream& exit(Callback callback, ObjectNumber n, Status status = kOk) {
    add(EventKind::kCallbackExit, n, value(callback), 3, status);
    return *this;
  }
  Stream& attach_call_enter(ObjectNumber n, std::uint64_t context, HandleState state = HandleState::kValid) {
    add(EventKind::kAttachCallEnter, n, value(state), context);
    return *this;
  }
  Stream& attach_call_exit(ObjectNumber n, Status status = kOk) {
    add(EventKind::kAttachCallExit, n, 0, status == kOk ? 200 + n : 0, status);
    return *this;
  }
  Stream& complete(Role role, ObjectNumber n, DetachProgress before, HandleState state = HandleState::kValid) {
    add(EventKind::kComplete, n, value(state), value(before)).routine =
        static_cast<trace::RoutineNumber>(row_of(role).complete_routine);
    return *this;
  }
  Stream& moves(ObjectNumber n, std::initializer_list<BindingState> chain) {
    return chain_of(EventKind::kBindingState, n, chain, 0);
  }
  Stream& moves(Role role, ObjectNumber n, std::initializer_list<DetachProgress> chain) {
    return chain_of(EventKind::kSideState, n, chain, static_cast<Status>(index_of(role)));
  }
  Stream& plain(EventKind kind) {
    add(kind, 0);
    return *this;
  }

  // --- Phrases ---
  Stream& registers(Role role, ObjectNumber n, std::uint64_t npi = 1) {
    register_enter(role, n, npi).moves(n, {RegistrationState::kNone, RegistrationState::kRegistering});
    return moves(n, {RegistrationState::kRegistering, RegistrationState::kActive}).register_exit(n);
  }
  // Register of client or provider with one binding offered and accepted inside.
  Stream& registers_and_binds(Role role, ObjectNumber n, ObjectNumber binding, ObjectNumber client,
                              ObjectNumber provider) {
    register_enter(role, n).moves(n, {RegistrationState::kNone, RegistrationState::kRegistering});
    attach(binding, client, provider);
    return moves(n, {RegistrationState::kRegistering, RegistrationState::kActive}).register_exit(n);
  }
  Stream& asks_client(ObjectNumber n, ObjectNumber client, ObjectNumber provider) {
    return offer(n, client, provider).enter(Callback::kClientAttachProvider, n, 10 + client);
  }
  Stream& asks_provider(ObjectNumber n, ObjectNumber provider, Status status) {
    attach_call_enter(n, 100 + n).moves(n, {BindingState::kOffered, BindingState::kNegotiating});
    enter(Callback::kProviderAttachClient, n, 10 + provider).exit(Callback::kProviderAttachClient, n, status);
    moves(n, {BindingState::kNegotiating, status == kOk ? BindingState::kAccepted : BindingState::kOffered});
    return attach_call_exit(n, status);
  }
  Stream& attach(ObjectNumber n, ObjectNumber client, ObjectNumber provider) {
    asks_client(n, client, provider).asks_provider(n, provider, kOk);
    return exit(Callback::kClientAttachProvider, n).moves(n, {BindingState::kAccepted, BindingState::kAttached});
  }
  Stream& deregisters(Role role, ObjectNumber n) {
    return deregister_enter(role, n).moves(n, {RegistrationState::kActive, RegistrationState::kDeregistering});
  }
  Stream& detach_starts(Role role, ObjectNumber n, std::uint64_t context) {
    moves(role, n, {DetachProgress::kIdle, DetachProgress::kCalling});
    return enter(row_of(role).detach, n, context);
  }
  Stream& detach_starts(Role role, ObjectNumber n) { return detach_starts(role, n, row_of(role).binding_context + n); }
  Stream& detach_ends(Role role, ObjectNumber n, Status status) {
    exit(row_of(role).detach, n, status);
    return moves(role, n,
                 {DetachProgress::kCalling, status == kPends ? DetachProgress::kPending : DetachProgress::kDone});
  }
  Stream& detaches(Role role, ObjectNumber n, Status status = kOk) {
    return detach_starts(role, n).detach_ends(role, n, status);
  }
  Stream& completes(Role role, ObjectNumber n) {
    complete(role, n, DetachProgress::kPending);
    return moves(role, n, {DetachProgress::kPending, DetachProgress::kDone});
  }
  Stream& cleans(Role role, ObjectNumber n) {
    return enter(row_of(role).cleanup, n, row_of(role).binding_context + n).exit(row_of(role).cleanup, n);
  }
  Stream& cleanups(ObjectNumber n) {
    moves(n, {BindingState::kDetaching, BindingState::kDetached, BindingState::kCleaning});
    cleans(Role::kClient, n).cleans(Role::kProvider, n);
    return moves(n, {BindingState::kCleaning, BindingState::kGone});
  }
  Stream& drains(ObjectNumber n) { return moves(n, {RegistrationState::kDeregistering, RegistrationState::kDrained}); }
  Stream& wait_ends(ObjectNumber n) {
    return moves(n, {RegistrationState::kDrained, RegistrationState::kClosed}).wait_exit(n);
  }
  // The whole way out of a registration without bindings.
  Stream& leaves(Role role, ObjectNumber n) {
    return deregisters(role, n).drains(n).deregister_exit(n).wait_enter(role, n, 0).wait_ends(n);
  }

 private:
  template <class T>
  static std::uint64_t value(T enumerator) {
    return static_cast<std::uint64_t>(enumerator);
  }
  static trace::ModuleNumber module_of(Role role) { return role == Role::kClient ? 1 : 0; }

  Event& add(EventKind kind, ObjectNumber object, std::uint64_t a = 0, std::uint64_t b = 0, Status status = 0) {
    Event event;
    event.kind = kind;
    event.thread = thread_;
    event.object = object;
    event.a = a;
    event.b = b;
    event.status = static_cast<std::uint32_t>(status);
    events.push_back(event);
    return events.back();
  }
  template <class State>
  Stream& chain_of(EventKind kind, ObjectNumber n, std::initializer_list<State> chain, Status status) {
    for (const State* step = chain.begin(); step + 1 < chain.end(); ++step) {
      add(kind, n, value(step[0]), value(step[1]), status);
    }
    return *this;
  }

  trace::ThreadNumber thread_ = 1;
};

// One lawful life: what happened, in which world.
struct Life {
  std::string name;
  std::function<void(Stream&)> write;
  ModelOptions options = {};

  std::vector<Event> events() const {
    Stream stream;
    write(stream);
    return stream.events;
  }
};

// All of them; in each the provider is registration 1, the client 2, and their binding 1, unless its name says more.
const std::vector<Life>& all();

// The one called `name`. REQUIRES: there is one.
const Life& named(const std::string& name);

// What the model says of a stream.
std::vector<std::string> judge(const std::vector<Event>& events, const ModelOptions& options,
                               bool all_threads_ended = true);

// A life to be edited: events are named by kind and, for callbacks, by which.
class Edited {
 public:
  explicit Edited(std::vector<Event> original) : events(std::move(original)) {}

  // Position of the `nth` event of this kind, of this object and `a` unless they are kAny.
  static constexpr std::uint64_t kAny = ~std::uint64_t{0};
  std::size_t at(EventKind kind, std::uint64_t a = kAny, ObjectNumber object = 0, int nth = 0) const {
    for (std::size_t i = 0; i < events.size(); ++i) {
      const Event& e = events[i];
      if (e.kind == kind && (a == kAny || e.a == a) && (object == 0 || e.object == object) && nth-- == 0) {
        return i;
      }
    }
    throw std::logic_error("no such event in this life");
  }
  std::size_t enter(std::uint64_t callback, ObjectNumber binding = 0) const {
    return at(EventKind::kCallbackEnter, callback, binding);
  }
  std::size_t exit(std::uint64_t callback, ObjectNumber binding = 0) const {
    return at(EventKind::kCallbackExit, callback, binding);
  }
  // The claim that this object moved to `to`.
  std::size_t claim(EventKind kind, std::uint64_t to, ObjectNumber object) const {
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (events[i].kind == kind && events[i].b == to && events[i].object == object) {
        return i;
      }
    }
    throw std::logic_error("no such claim in this life");
  }
  std::size_t claim(BindingState to, ObjectNumber object = 1) const {
    return claim(EventKind::kBindingState, static_cast<std::uint64_t>(to), object);
  }
  std::size_t claim(RegistrationState to, ObjectNumber object) const {
    return claim(EventKind::kRegistrationState, static_cast<std::uint64_t>(to), object);
  }

  Event& operator[](std::size_t i) { return events[i]; }
  void erase(std::size_t first, std::size_t count = 1) {
    const auto begin = events.begin() + static_cast<std::ptrdiff_t>(first);
    events.erase(begin, begin + static_cast<std::ptrdiff_t>(count));
  }
  void insert(std::size_t before, const std::vector<Event>& added) {
    events.insert(events.begin() + static_cast<std::ptrdiff_t>(before), added.begin(), added.end());
  }
  // Inserts what `write` writes.
  void write(std::size_t before, const std::function<void(Stream&)>& write) {
    Stream stream;
    write(stream);
    insert(before, stream.events);
  }
  // Takes `count` events away and puts them back in front of what was at `before`.
  void move(std::size_t first, std::size_t count, std::size_t before) {
    const std::vector<Event> taken(events.begin() + static_cast<std::ptrdiff_t>(first),
                                   events.begin() + static_cast<std::ptrdiff_t>(first + count));
    erase(first, count);
    insert(before > first ? before - count : before, taken);
  }
  // Everything about this binding is lost, as if it had never been offered.
  void forget_binding(ObjectNumber binding) {
    std::erase_if(events, [binding](const Event& e) {
      switch (e.kind) {
        case EventKind::kOffer:
        case EventKind::kCallbackEnter:
        case EventKind::kCallbackExit:
        case EventKind::kAttachCallEnter:
        case EventKind::kAttachCallExit:
        case EventKind::kBindingState:
        case EventKind::kSideState:
        case EventKind::kComplete:
          return e.object == binding;
        default:
          return false;
      }
    });
  }

  std::vector<Event> events;
};

}  // namespace nmrfuzz::nmr::lives
