// registrar.h - the Network Module Registrar: pairs clients with providers of one NPI, and takes the pairs apart again.
//
// Every operation is a series of steps: a transition of the tables under the port's lock, a callback outside it,
// another transition. No lock is held across a callback (G17), so callbacks may call any NMR function. The work per
// operation is linear in the registrations of the NPI and in the bindings that it touches.
//
// Port: what the registrar needs of the machine it runs on:
//   lock() unlock()              guard the tables; on fibers they do nothing, since nothing yields in between
//   point(routine, object)       a scheduling point
//   park(object&) wake(object&)  block until woken, to test again; spurious wake-ups are allowed. Called with the lock,
//                                which park() leaves while it blocks
//   spawn(body, argument)        a thread of the registrar's own
//   decide(n, kind)              a decision among n
//   fails(routine)               whether a call that can fail is to fail
//   emit(event fields)           writes an event
//   hold(data, what, user) release(held)  notes that a module's data are in use, until they no longer are
//   breach(outcome, registration) reports a broken protocol of Register
//   stop()                       ends the execution, as a bug check would
//   call(module, callback, f)    runs f, which calls into the module
//   thread() module() irql() set_irql(level) number_of(value)
//
// Source: the guarantees G1 to G30 of the contract; the file that keeps each is named there in its comments.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "kernel/routine.h"
#include "nmr/mutant.h"
#include "nmr/records.h"
#include "nmr/stable_table.h"
#include "nmr/states.h"
#include "nmr/world.h"
#include "schedule/strategy.h"

namespace nmrfuzz::nmr {

using kernel::Routine;

// Holds the lock of a registrar's port for a scope. Outside the registrar's template: members of classes that are
// instantiated explicitly are called, not inlined.
template <class Owner>
class PortLock {
 public:
  [[gnu::always_inline]] explicit PortLock(Owner& registrar) : port_(registrar.port_) { port_.lock(); }
  [[gnu::always_inline]] ~PortLock() { port_.unlock(); }
  PortLock(const PortLock&) = delete;
  PortLock& operator=(const PortLock&) = delete;

 private:
  decltype(Owner::port_)& port_;
};

template <class Port>
class Registrar {
 public:
  explicit Registrar(Port port) : port_(port) {}
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  // Forgets everything.
  void reset(const World& world);
  const World& world() const { return world_; }

  // --- The nine entry points, for the module that port.module() names (0: the environment's own peers) -----------
  // Pointers have been checked. Statuses and IRQLs are those of the documentation.

  Status register_module(Role role, const Characteristics& characteristics, void* context, void** handle);
  Status deregister(Role role, void* handle);
  Status wait_for_deregister(Role role, void* handle);
  Status client_attach_provider(void* binding_handle, void* client_context, const void* client_dispatch,
                                void** provider_context, const void** provider_dispatch);
  void detach_complete(Role role, void* binding_handle);

  // --- For tests, models and reports -------------------------------------------------------------------------------

  std::size_t registrations() const { return registrations_.size(); }
  std::size_t bindings() const { return bindings_.size(); }
  const Registration& registration(ObjectNumber number) const { return registrations_[number - 1]; }
  const Binding& binding(ObjectNumber number) const { return bindings_[number - 1]; }

 private:
  friend class PortLock<Registrar>;
  using Locked = PortLock<Registrar>;

  // What a worker thread of the registrar is started for.
  struct Job;
  using JobBody = void (*)(Registrar& self, const Job& job);
  struct Job {
    Registrar* registrar = nullptr;
    JobBody body = nullptr;
    Binding* binding = nullptr;
    Role role = Role::kClient;
  };

  // Ports of tests may break one condition of the registrar (mutant.h).
  static constexpr bool kHasMutants = requires(const Port& port) { port.mutant(Mutant::kNone); };
  bool is_mutant(Mutant mutant) const {
    if constexpr (kHasMutants) {
      return port_.mutant(mutant);
    } else {
      return false;
    }
  }

  // "Under the lock": the caller holds it. All others must not hold it, since they call callbacks or wait.

  // A registration that has just become visible, and which parts of the plans are its own.
  struct Arrival {
    Registration* registration = nullptr;
    std::size_t first = 0;  // in planned_offers_
    std::size_t count = 0;
    std::size_t first_again = 0;  // in planned_again_
    std::size_t count_again = 0;
  };

  // registration_steps.h
  Arrival begin_register(Routine routine, Role role, const Characteristics& characteristics, void* context);
  Status end_register(Routine routine, const Arrival& arrival);
  Registration& add_registration(Role role, const Characteristics& characteristics, void* context);
  std::uint32_t npi_index(const std::array<std::uint64_t, 2>& npi);
  std::size_t plan_offers(const Registration& registration);
  template <class Record>
  std::size_t order(std::vector<Record*>& plan, std::size_t first);
  template <class Record>
  Record& planned(const std::vector<Record*>& plan, std::size_t index);
  void offer_planned(Registration& registration, std::size_t first, std::size_t count);
  Status fail_register(Routine routine, Role role, const Characteristics& characteristics, void* context, void** handle,
                       Status status);
  std::size_t plan_detaches(Registration& registration);
  void detach_planned(Registration& registration, std::size_t first, std::size_t count);
  Status begin_deregister(Role role, void* handle, Registration*& registration, std::size_t& first, std::size_t& count);
  void show(Registration& registration);
  void mutate_plan(const Registration& leaving);
  static bool is_live(const Registration& registration) {
    return registration.state == RegistrationState::kRegistering || registration.state == RegistrationState::kActive;
  }
  static bool is_closed(const Registration& registration) { return registration.state == RegistrationState::kClosed; }

  // again_steps.h
  void remember_refusal(Binding& binding);
  std::size_t plan_again(const Registration& registration);
  void offer_again(std::size_t first, std::size_t count);

  // handle_steps.h
  HandleState look_up(const void* handle, HandleKind kind) const;
  Registration* resolve_registration(Role role, void* handle, HandleState& state);
  Binding* resolve_binding(Role role, void* handle, HandleState& state);

  // data_steps.h
  void hold_data(Registration& registration);
  void note_same_number(const Registration& registration);
  void note_overwritten_handle(Registration& registration);
  Registration*& bucket_of_variable(const void* variable) {
    return by_variable_[reinterpret_cast<std::uintptr_t>(variable) / sizeof(void*) % kBuckets];
  }
  void check_content(const Registration& registration);
  void hold_dispatch(Binding& binding);

  // wait_steps.h
  bool is_tolerated_wait(const Registration* registration, HandleState state) const;
  Status refuse_wait(Routine routine, const Registration* registration, HandleState state);
  void wait_until_drained(Registration& registration);
  void leave_if_drained(Registration& registration);
  void close(Registration& registration);

  // attach_steps.h
  Binding* offer(Registration& client, Registration& provider);
  Binding& add_binding(Registration& client, Registration& provider);
  bool may_enter_offer(Binding& binding);
  void run_offer(Binding& binding);
  void mutate_refusal(Binding& binding);
  bool end_attach(Binding& binding, Status status);
  void finish_offer(Binding& binding, Status status);
  void refuse_late(Binding& binding);
  bool may_attempt_attach(const Binding& binding) const;
  HandleState enter_attach_call(void* handle, const void* client_context, Binding*& binding);
  bool may_ask_provider(const Binding& binding) const;
  Status ask_provider(Binding& binding, void* client_context, const void* client_dispatch);
  Status call_provider(Binding& binding, void* client_context, const void* client_dispatch);
  void remove_binding(Binding& binding);

  // detach_steps.h
  bool begin_detach(Binding& binding, Role initiator);
  bool leave_to_deregisterer(Binding& binding);
  void detach_late(Registration& registration);
  void detach(Binding& binding);
  void detach_side(Binding& binding, Role role);
  bool is_passed_over(const Binding& binding, Role role) const;
  void begin_side(Binding& binding, Role role);
  bool settle_side(Binding& binding, Role role, Status status);
  Role first_to_detach(const Binding& binding) const;
  HandleState judge_completion(const Binding* binding, Role role) const;
  bool complete_side(Binding& binding, Role role);
  void mutate_completion(Binding& binding, Role role);
  bool take_detached(Binding& binding);
  void start_cleanup(Binding& binding);
  bool defer_cleanup(Binding& binding);
  Binding* take_deferred(Registration& registration);
  void* context_of(const Binding& binding, Role role) const;
  void clean_up(Binding& binding);
  void clean_up_side(Binding& binding, Role role);
  Role first_to_clean_up(const Binding& binding) const;

  // A step that the tables of states.h do not know is a fault of the registrar's own.
  void require(bool holds) const {
    if (!holds && (!kHasMutants || is_mutant(Mutant::kNone))) {
      std::abort();
    }
  }

  void start_job(JobBody body, Binding& binding, Role role);

  void move(Registration& registration, RegistrationState to);
  void move(Binding& binding, BindingState to);
  void move(Binding& binding, Role role, DetachProgress to);

  Port port_;
  World world_;
  StableTable<Registration> registrations_;
  StableTable<Binding> bindings_;
  StableTable<RegisteredData> contents_;
  StableTable<Job> jobs_;

  struct Npi {
    std::array<std::uint64_t, 2> id{};
    std::array<Registration*, 2> first{};  // live registrations by role, in order of arrival
    std::array<Registration*, 2> last{};
    Binding* first_refused = nullptr;  // chain through Binding::next_refused
    Npi* next_in_bucket = nullptr;
    std::uint32_t index = 0;
  };
  static constexpr unsigned kBucketBits = 10;
  static constexpr std::size_t kBuckets = std::size_t{1} << kBucketBits;
  // NPIs of one author often differ in a few bits only, in either half.
  static std::size_t bucket_of(const std::array<std::uint64_t, 2>& id) {
    return ((id[0] ^ id[1]) * 0x9e3779b97f4a7c15) >> (64 - kBucketBits);
  }
  StableTable<Npi> npis_;
  std::vector<Npi*> buckets_ = std::vector<Npi*>(kBuckets, nullptr);

  // Registrations by the address of the module's handle variable.
  std::vector<Registration*> by_variable_ = std::vector<Registration*>(kBuckets, nullptr);

  // The last registration made with each structure, by the structure's number of first appearance.
  std::vector<Registration*> by_structure_;

  // Lists made under the lock and worked off outside it: each call uses the part that it appended.
  std::vector<Registration*> planned_offers_;
  std::vector<Binding*> planned_detaches_;
  std::vector<Binding*> planned_again_;
};

}  // namespace nmrfuzz::nmr

#include "nmr/again_steps.h"
#include "nmr/attach_steps.h"
#include "nmr/data_steps.h"
#include "nmr/detach_steps.h"
#include "nmr/handle_steps.h"
#include "nmr/registration_steps.h"
#include "nmr/wait_steps.h"
