// reference_model_claims.cpp - the registrar's own words: state events, held against the facts.
//
// A claim may come just before or just after the border event that it belongs to, as other threads run in between; so a
// claim is judged by whether the facts allow it by then, and the border checks ask for claims that are overdue.
// Source: contract sections 3.2 and 3.3, and the tables of states.h.
#include "nmr/reference_model.h"

namespace nmrfuzz::nmr {
namespace {

using trace::Event;

constexpr bool is_registration_state(std::uint64_t value) { return value < kRegistrationStates; }
constexpr bool is_binding_state(std::uint64_t value) { return value < kBindingStates; }
constexpr bool is_detach_progress(std::uint64_t value) { return value < kDetachProgresses; }

}  // namespace

// --- Registrations -----------------------------------------------------------------------------------------

void ReferenceModel::claim_registration(const Event& event) {
  Registration* const named = registration(event.object);
  if (named == nullptr || !is_registration_state(event.a) || !is_registration_state(event.b)) {
    disagree("section 3.2", fmt::format("registration {} moves from {} to {}", event.object, event.a, event.b));
    return;
  }
  const auto from = static_cast<RegistrationState>(event.a);
  const auto to = static_cast<RegistrationState>(event.b);
  expect(from == named->claimed, "section 3.2", "registration {} moves from {}, but was in {}", event.object, event.a,
         static_cast<int>(named->claimed));
  expect(may_move(from, to), "section 3.2", "registration {} moves from {} to {}", event.object, event.a, event.b);
  const bool justified = justifies(*named, event.object, to);
  expect(justified, to == RegistrationState::kDrained ? "G20" : "section 3.2",
         "registration {} moves to {} without reason", event.object, event.b);
  named->claimed = to;
}

bool ReferenceModel::justifies(const Registration& named, ObjectNumber number, RegistrationState to) const {
  switch (to) {
    case RegistrationState::kNone:
      return false;
    case RegistrationState::kRegistering:
    case RegistrationState::kActive:
      return named.registers_running > 0;
    case RegistrationState::kDeregistering:
      return named.may_be_deregistered();
    case RegistrationState::kDrained:
      return named.may_be_deregistered() && is_drained(number, Certainty::kMay);
    case RegistrationState::kClosed:
      return named.waits_running > 0 || (options_.deregister_succeeds_when_idle && named.deregisters_running > 0);
  }
  return false;
}

// --- Bindings ----------------------------------------------------------------------------------------------

void ReferenceModel::claim_binding(const Event& event) {
  Binding* const pair = binding(event.object);
  if (pair == nullptr || !is_binding_state(event.a) || !is_binding_state(event.b)) {
    disagree("section 3.3", fmt::format("binding {} moves from {} to {}", event.object, event.a, event.b));
    return;
  }
  const auto from = static_cast<BindingState>(event.a);
  const auto to = static_cast<BindingState>(event.b);
  expect(from == pair->claimed, "section 3.3", "binding {} moves from {}, but was in {}", event.object, event.a,
         static_cast<int>(pair->claimed));
  expect(may_move(from, to), "section 3.3", "binding {} moves from {} to {}", event.object, event.a, event.b);
  const bool justified = justifies(*pair, from, to);
  expect(justified, to == BindingState::kDetached ? "G14, G15" : "section 3.3",
         "binding {} moves from {} to {} without reason", event.object, event.a, event.b);
  pair->claimed = to;
}

bool ReferenceModel::justifies(const Binding& pair, BindingState from, BindingState to) const {
  switch (to) {
    case BindingState::kNegotiating:
      return pair.attach_calls_running > 0 && pair.provider_attach != Stage::kReturned;
    case BindingState::kOffered:
      return pair.attach_calls_running > 0 && pair.provider_attach != Stage::kRunning &&
             (pair.provider_attach == Stage::kNotEntered || pair.provider_status != kSuccess);
    case BindingState::kAccepted:
      return pair.attach_calls_running > 0 && pair.provider_attach == Stage::kReturned &&
             pair.provider_status == kSuccess;
    case BindingState::kAttached:
      return pair.is_attached();
    case BindingState::kDetaching:
      // A late refusal passes through here whatever follows from it; so does an attached binding.
      return pair.is_refused_late() || may_detach(pair, Role::kProvider);
    case BindingState::kDetached:
      return is_detached(pair, Certainty::kMay) &&
             (pair.is_refused_late() || pair.side(Role::kClient).claimed == DetachProgress::kDone) &&
             (!may_detach(pair, Role::kProvider) || pair.side(Role::kProvider).claimed == DetachProgress::kDone);
    case BindingState::kCleaning:
      return is_detached(pair, Certainty::kMay);
    case BindingState::kGone:
      return is_gone(pair, Certainty::kMay) && (from != BindingState::kOffered || !pair.accepted);
  }
  return false;
}

// --- Sides -------------------------------------------------------------------------------------------------

void ReferenceModel::claim_side(const Event& event) {
  Binding* const pair = binding(event.object);
  if (pair == nullptr || !is_detach_progress(event.a) || !is_detach_progress(event.b) || event.status > 1) {
    disagree("section 3.3",
             fmt::format("side {} of binding {} moves from {} to {}", event.status, event.object, event.a, event.b));
    return;
  }
  const auto role = static_cast<Role>(event.status);
  const auto from = static_cast<DetachProgress>(event.a);
  const auto to = static_cast<DetachProgress>(event.b);
  Side& side = pair->side(role);
  expect(from == side.claimed, "section 3.3", "side {} of binding {} moves from {}, but was at {}", event.status,
         event.object, event.a, static_cast<int>(side.claimed));
  // Of a client that refused late nothing is asked any more: it may be passed over in one step.
  const bool is_passed_over = pair->is_refused_late() && !may_detach(*pair, role);
  expect(is_passed_over || may_move(from, to), "section 3.3", "side {} of binding {} moves from {} to {}", event.status,
         event.object, event.a, event.b);
  const bool justified = is_passed_over || justifies(*pair, role, from, to);
  expect(justified, "section 3.3", "side {} of binding {} moves from {} to {} without reason", event.status,
         event.object, event.a, event.b);
  side.claimed = to;
}

bool ReferenceModel::justifies(const Binding& pair, Role role, DetachProgress from, DetachProgress to) const {
  const Side& side = pair.side(role);
  const bool has_returned = side.detach == Stage::kReturned;
  const bool may_start = !has_returned && pair.claimed == BindingState::kDetaching && may_detach(pair, role);
  switch (to) {
    case DetachProgress::kIdle:
      return false;
    case DetachProgress::kCalling:
      return may_start;
    case DetachProgress::kCallingCompleted:
      return side.completions > 0 && (from == DetachProgress::kCalling || may_start);
    case DetachProgress::kPending:
      return has_returned && side.detach_status != kSuccess;
    case DetachProgress::kDone:
      if (from == DetachProgress::kCalling) {
        return has_returned && side.detach_status != kPending;
      }
      return has_returned && side.completions > 0;
    case DetachProgress::kCompletedEarly:
      return options_.early_complete_is_remembered && side.completions > 0 && side.detach == Stage::kNotEntered;
  }
  return false;
}

}  // namespace nmrfuzz::nmr
