// reference_model.h - what every registration, binding and side must be, worked out from the registrar's border alone.
//
// The model reads the same event stream as the rules do, but judges the registrar and never a module. It keeps two
// things apart:
//   facts   what went in and came out: calls, callbacks, offers, completions and their statuses;
//   claims  what the registrar says of itself: kRegistrationState, kBindingState, kSideState and handle states.
// Facts are never derived from claims. A claim must continue the chain of claims about its object, be a step of the
// tables in states.h, and be justified by the facts at that moment; and at given moments the claim must have been made.
// Where the contract leaves the registrar a choice (which thread, which order, which IRQL) the model accepts each one.
//
// Thread safety: none; one execution, one OS thread. It allocates: for tests, self-checks and the registrar's fuzz
// target, not for hunts.
// Not visible in the stream and so not judged: G6, G17, G28, and of G21 all but the callbacks.
// Source: contract sections 3 (life cycle), 5 (guarantees G1-G30) and 6 (worlds). Written without the registrar.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/status.h"
#include "nmr/states.h"
#include "trace/event.h"
#include "trace/recorder.h"

namespace nmrfuzz::nmr {

// The switches of the world that change what is right. All others only change which right thing happens.
struct ModelOptions {
  enum class LateRefusal : std::uint8_t { kDetachProvider, kCleanupOnly, kStop };

  bool deregister_succeeds_when_idle = false;    // dereg_status=success_when_idle
  bool deregister_may_fail = false;              // dereg_error=inject_once
  bool early_complete_is_remembered = true;      // early_complete=remember
  bool null_context_skips_cleanup = false;       // null_context=skip_cleanup
  bool drained_before_cleanup = false;           // drain_point=after_detach_unsafe
  bool second_wait_is_tolerated = false;         // double_wait=tolerate
  bool refused_pairs_are_offered_again = false;  // reoffer=on_new_registration
  bool offers_may_follow_register = false;       // attach_thread=worker_async
  bool cleanup_comes_with_wait = false;          // cleanup_where=at_wait
  bool bad_completion_stops = false;             // bad_complete=report_stop
  LateRefusal late_refusal = LateRefusal::kDetachProvider;
};

class ReferenceModel final : public trace::Observer {
 public:
  explicit ReferenceModel(const ModelOptions& options = {}) : options_(options) {}

  // Subscribes to what the model needs and takes event numbers from `recorder`, which must outlive the model or be
  // left with unsubscribe. Without it, events given to on_event are numbered from 0.
  void observe(trace::Recorder& recorder);

  // Forgets everything, before a new execution in another world.
  void reset(const ModelOptions& options);

  void on_event(const trace::Event& event) override;

  // Call once, after the last event: checks that nothing is missing. Without `all_threads_ended` the execution was cut
  // short, and only a deadlock tells that what is missing would never have come.
  void finish(bool all_threads_ended);

  // Whether the machine had to stop, so that no event may follow.
  bool has_stopped() const { return stopped_; }

  // One line each, in order: "event N: RULE: explanation". Empty: the registrar did as the contract says.
  const std::vector<std::string>& disagreements() const { return disagreements_; }

 private:
  using ObjectNumber = trace::ObjectNumber;

  static constexpr auto kSuccess = static_cast<std::uint32_t>(kernel::kStatusSuccess);
  static constexpr auto kPending = static_cast<std::uint32_t>(kernel::kStatusPending);
  static constexpr auto kInvalidParameter = static_cast<std::uint32_t>(kernel::kStatusInvalidParameter);

  enum class Stage : std::uint8_t { kNotEntered, kRunning, kReturned };

  struct Registration {
    Role role = Role::kClient;
    trace::ModuleNumber module = 0;
    std::uint64_t npi = 0;
    std::uint64_t context = 0;
    bool has_cleanup = false;
    std::size_t registrations_before = 0;  // how many there were when it came
    bool registered = false;               // Register returned STATUS_SUCCESS
    std::uint32_t registers_running = 0;
    std::uint32_t deregisters_running = 0;  // entered with a good handle, not returned
    bool deregister_tried = false;          // one was entered with a good handle at some time
    bool deregistered = false;              // one returned without an error
    bool wait_tried = false;                // a wait was entered with a good handle at some time
    std::uint32_t waits_running = 0;        // entered with a good handle, not returned
    std::uint32_t waits_succeeded = 0;
    RegistrationState claimed = RegistrationState::kNone;

    // A Deregister has taken effect or may have done so.
    bool may_be_deregistered() const { return deregistered || deregisters_running > 0; }
  };

  struct Side {
    std::uint64_t context = 0;  // its own binding context
    Stage detach = Stage::kNotEntered;
    std::uint32_t detach_status = 0;
    std::uint32_t completions = 0;  // *Complete calls that the registrar took as good
    Stage cleanup = Stage::kNotEntered;
    DetachProgress claimed = DetachProgress::kIdle;
  };

  struct Binding {
    ObjectNumber client = 0;
    ObjectNumber provider = 0;
    std::array<Side, 2> sides;
    Stage client_attach = Stage::kNotEntered;
    Stage provider_attach = Stage::kNotEntered;
    std::uint32_t attach_calls_running = 0;
    std::uint32_t provider_status = 0;
    std::uint32_t client_status = 0;
    bool accepted = false;     // NmrClientAttachProvider returned STATUS_SUCCESS
    bool was_refused = false;  // NmrClientAttachProvider failed at least once
    std::size_t registrations_at_refusal = 0;
    BindingState claimed = BindingState::kOffered;

    Side& side(Role role) { return sides[index_of(role)]; }
    const Side& side(Role role) const { return sides[index_of(role)]; }
    bool attach_is_over() const {
      return client_attach == Stage::kReturned && provider_attach != Stage::kRunning && attach_calls_running == 0;
    }
    bool is_attached() const { return client_attach == Stage::kReturned && accepted && client_status == 0; }
    bool is_refused_late() const { return client_attach == Stage::kReturned && accepted && client_status != 0; }
  };

  // A call or callback that has been entered and has not returned.
  struct Frame {
    trace::EventKind entered_by = trace::EventKind::kNone;
    ObjectNumber object = 0;
    std::uint64_t a = 0;           // the entering event's: handle state or callback
    bool called_provider = false;  // of NmrClientAttachProvider: the provider's attach callback was entered
  };

  // --- Border of registrations (reference_model.cpp) -------------------------------------------------------
  void enter_register(const trace::Event& event);
  void exit_register(const trace::Event& event);
  void enter_deregister(const trace::Event& event);
  void exit_deregister(const trace::Event& event);
  void enter_wait(const trace::Event& event);
  void exit_wait(const trace::Event& event);
  void block(const trace::Event& event);

  void push(const trace::Event& event);
  std::optional<Frame> pop(const trace::Event& event, trace::EventKind entered_by);
  void check_registration_handle(const trace::Event& event, const Registration& registration, bool is_open);
  void check_pairs_offered(ObjectNumber number);
  void check_refused_offered_again(ObjectNumber number);
  bool is_offered_again(ObjectNumber refused) const;

  // --- Border of bindings (reference_model_binding.cpp) ----------------------------------------------------
  void offer(const trace::Event& event);
  void enter_attach_call(const trace::Event& event);
  bool is_inside_client_attach(const trace::Event& event);
  void exit_attach_call(const trace::Event& event);
  void complete(const trace::Event& event);
  void enter_callback(const trace::Event& event);
  void enter_client_attach(const trace::Event& event, Binding& binding);
  void enter_provider_attach(const trace::Event& event, Binding& binding);
  void enter_detach(const trace::Event& event, Binding& binding, Role role);
  void enter_cleanup(const trace::Event& event, Binding& binding, Role role);
  void exit_callback(const trace::Event& event);
  void exit_client_attach(const trace::Event& event, Binding& binding);
  void check_offered_before(const trace::Event& event);
  bool may_be_offered_again(const Binding& earlier) const;

  // --- Claims (reference_model_claims.cpp) -----------------------------------------------------------------
  void claim_registration(const trace::Event& event);
  void claim_binding(const trace::Event& event);
  void claim_side(const trace::Event& event);
  bool justifies(const Registration& registration, ObjectNumber number, RegistrationState to) const;
  bool justifies(const Binding& binding, BindingState from, BindingState to) const;
  bool justifies(const Binding& binding, Role role, DetachProgress from, DetachProgress to) const;

  // --- What the facts say (reference_model_facts.cpp) ------------------------------------------------------
  // kMay: the contract allows it to be so; kMust: it allows nothing else. They differ where a module broke a rule.
  enum class Certainty : std::uint8_t { kMay, kMust };
  bool is_done(const Binding& binding, Role role, Certainty certainty) const;
  bool is_detached(const Binding& binding, Certainty certainty) const;
  bool is_gone(const Binding& binding, Certainty certainty) const;
  bool is_drained(ObjectNumber number, Certainty certainty) const;
  bool may_detach(const Binding& binding, Role role) const;
  bool owes_cleanup(const Binding& binding, Role role) const;
  bool tolerates_cleanup(const Binding& binding, Role role) const;

  void check_nothing_runs();
  void check_waits_of_a_deadlock();
  bool is_any_callback_running() const;
  void check_settled(ObjectNumber number, const Registration& registration);
  void check_settled(ObjectNumber number, const Binding& binding);
  void check_settled_cleanups(ObjectNumber number, const Binding& binding);

  // --- Small things (reference_model.cpp) ------------------------------------------------------------------
  static bool is_error(std::uint32_t status) { return !kernel::succeeded(kernel::status_value(status)); }
  static bool is_valid(std::uint64_t handle_state) {
    return static_cast<HandleState>(handle_state) == HandleState::kValid;
  }
  static Role role_of_routine(trace::RoutineNumber routine);
  Registration* registration(ObjectNumber number);
  Binding* binding(ObjectNumber number);
  const Registration& owner(const Binding& binding, Role role) const;

  // Notes a disagreement unless `holds`. `rule`: the guarantee or section that was broken.
  template <class... Arguments>
  void expect(bool holds, std::string_view rule, fmt::format_string<const Arguments&...> text,
              const Arguments&... arguments) {
    if (!holds) {
      disagree(rule, fmt::format(text, arguments...));
    }
  }
  void disagree(std::string_view rule, const std::string& explanation);

  ModelOptions options_;
  trace::Recorder* recorder_ = nullptr;
  std::uint64_t events_seen_ = 0;
  std::uint64_t event_number_ = 0;
  bool deadlocked_ = false;
  bool stopped_ = false;
  std::map<ObjectNumber, Registration> registrations_;
  std::map<ObjectNumber, Binding> bindings_;
  std::map<trace::ThreadNumber, std::vector<Frame>> frames_;
  std::vector<std::string> disagreements_;
};

}  // namespace nmrfuzz::nmr
