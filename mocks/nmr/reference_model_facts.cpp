// reference_model_facts.cpp - what follows from the border alone, and what must have come about when all is at rest.
//
// Source: contract sections 3.2, 3.3, 5 and 6 (A8, A11, A17, A25).
#include <algorithm>

#include "nmr/reference_model.h"

namespace nmrfuzz::nmr {
namespace {

using trace::EventKind;

constexpr std::array<Role, 2> kRoles = {Role::kClient, Role::kProvider};

}  // namespace

// --- One side, one binding, one registration ---------------------------------------------------------------

bool ReferenceModel::is_done(const Binding& pair, Role role, Certainty certainty) const {
  if (pair.is_refused_late()) {
    // The client is not called again (A11); without a detach the provider has nothing to do either.
    if (role == Role::kClient || options_.late_refusal != ModelOptions::LateRefusal::kDetachProvider) {
      return true;
    }
  }
  const Side& side = pair.side(role);
  if (side.detach != Stage::kReturned) {
    return false;
  }
  if (side.detach_status == kSuccess || side.completions > 0) {
    return true;
  }
  // Neither STATUS_SUCCESS nor STATUS_PENDING is the module's fault (R65); the contract names no consequence.
  return side.detach_status != kPending && certainty == Certainty::kMay;
}

// Both sides are done and no detach callback is running: the cleanups may start (G14, G15).
bool ReferenceModel::is_detached(const Binding& pair, Certainty certainty) const {
  return pair.attach_is_over() && pair.accepted && is_done(pair, Role::kClient, certainty) &&
         is_done(pair, Role::kProvider, certainty) && pair.sides[0].detach != Stage::kRunning &&
         pair.sides[1].detach != Stage::kRunning;
}

bool ReferenceModel::is_gone(const Binding& pair, Certainty certainty) const {
  if (pair.client_attach == Stage::kNotEntered) {
    // A deregistration that meets a pair before its first callback may withdraw the offer (G9).
    return certainty == Certainty::kMay &&
           (owner(pair, Role::kClient).may_be_deregistered() || owner(pair, Role::kProvider).may_be_deregistered());
  }
  if (!pair.accepted) {
    return pair.attach_is_over();
  }
  return is_detached(pair, certainty) && std::all_of(kRoles.begin(), kRoles.end(), [&](Role role) {
           const Stage cleanup = pair.side(role).cleanup;
           return cleanup != Stage::kRunning && (cleanup == Stage::kReturned || !owes_cleanup(pair, role));
         });
}

bool ReferenceModel::is_drained(ObjectNumber number, Certainty certainty) const {
  return std::all_of(bindings_.begin(), bindings_.end(), [&](const auto& entry) {
    const Binding& pair = entry.second;
    if (pair.client != number && pair.provider != number) {
      return true;
    }
    return is_gone(pair, certainty) || (options_.drained_before_cleanup && is_detached(pair, certainty));
  });
}

// The contract allows the detach callback of this side to be called once, now or earlier.
bool ReferenceModel::may_detach(const Binding& pair, Role role) const {
  if (pair.is_refused_late()) {
    return role == Role::kProvider && options_.late_refusal == ModelOptions::LateRefusal::kDetachProvider;
  }
  return pair.is_attached() &&
         (owner(pair, Role::kClient).may_be_deregistered() || owner(pair, Role::kProvider).may_be_deregistered());
}

bool ReferenceModel::owes_cleanup(const Binding& pair, Role role) const {
  if (!owner(pair, role).has_cleanup) {
    return false;
  }
  if (options_.null_context_skips_cleanup && pair.side(role).context == 0) {
    return false;
  }
  if (pair.is_refused_late()) {
    return role == Role::kProvider && options_.late_refusal != ModelOptions::LateRefusal::kStop;
  }
  return pair.is_attached();
}

bool ReferenceModel::tolerates_cleanup(const Binding& pair, Role role) const {
  if (owes_cleanup(pair, role)) {
    return true;
  }
  // "Runs both cleanup callbacks without detach" is how the source of cleanup_only is described (A11).
  return pair.is_refused_late() && options_.late_refusal == ModelOptions::LateRefusal::kCleanupOnly &&
         owner(pair, role).has_cleanup;
}

// --- At rest -----------------------------------------------------------------------------------------------

void ReferenceModel::finish(bool all_threads_ended) {
  if (!all_threads_ended && !deadlocked_) {
    return;
  }
  event_number_ = recorder_ != nullptr ? recorder_->size() : events_seen_;
  if (all_threads_ended) {
    check_nothing_runs();
  } else {
    check_waits_of_a_deadlock();
    if (is_any_callback_running()) {
      return;  // whatever is missing may be waiting for that module
    }
  }
  for (const auto& [number, each] : registrations_) {
    check_settled(number, each);
  }
  for (const auto& [number, each] : bindings_) {
    check_settled(number, each);
  }
}

void ReferenceModel::check_nothing_runs() {
  for (const auto& [thread, stack] : frames_) {
    for (const Frame& frame : stack) {
      expect(false, "nesting", "thread {}: what event kind {} entered for object {} never returned", thread,
             static_cast<int>(frame.entered_by), frame.object);
    }
  }
}

void ReferenceModel::check_waits_of_a_deadlock() {
  for (const auto& [thread, stack] : frames_) {
    if (stack.empty() || stack.back().entered_by != EventKind::kWaitEnter || !is_valid(stack.back().a)) {
      continue;
    }
    const ObjectNumber number = stack.back().object;
    expect(!is_drained(number, Certainty::kMust), "G20, G22",
           "the wait for {} does not return although nothing is left", number);
  }
}

bool ReferenceModel::is_any_callback_running() const {
  return std::any_of(frames_.begin(), frames_.end(), [](const auto& entry) {
    return std::any_of(entry.second.begin(), entry.second.end(),
                       [](const Frame& frame) { return frame.entered_by == EventKind::kCallbackEnter; });
  });
}

void ReferenceModel::check_settled(ObjectNumber number, const Registration& settled) {
  if (!settled.registered) {
    return;
  }
  if (!settled.may_be_deregistered()) {
    expect(settled.claimed == RegistrationState::kActive, "G12, G29", "registration {} was left in state {}", number,
           static_cast<int>(settled.claimed));
    for (const auto& [other_number, other] : registrations_) {
      const bool is_pair = settled.role == Role::kClient && other.role == Role::kProvider && other.npi == settled.npi &&
                           other.registered && !other.may_be_deregistered();
      if (is_pair && std::none_of(bindings_.begin(), bindings_.end(), [&, provider = other_number](const auto& entry) {
            return entry.second.client == number && entry.second.provider == provider;
          })) {
        disagree("G1", fmt::format("client {} and provider {} were never offered to each other", number, other_number));
      }
    }
    return;
  }
  if (settled.deregistered && is_drained(number, Certainty::kMust)) {
    expect(settled.claimed >= RegistrationState::kDrained, "section 3.2", "registration {} was never drained", number);
  }
}

void ReferenceModel::check_settled(ObjectNumber number, const Binding& settled) {
  if (settled.client_attach == Stage::kNotEntered) {
    expect(settled.claimed == BindingState::kGone, "G1", "binding {} was never offered to its client", number);
    return;
  }
  if (settled.client_attach != Stage::kReturned) {
    return;
  }
  if (settled.is_refused_late() && options_.late_refusal == ModelOptions::LateRefusal::kStop) {
    return;
  }
  for (const Role role : kRoles) {
    const Side& side = settled.side(role);
    expect(side.detach != Stage::kNotEntered || !may_detach(settled, role), "G10, G12",
           "binding {}: side {} was never told to detach", number, index_of(role));
    if (!may_detach(settled, role)) {
      const DetachProgress expected = side.completions > 0 ? DetachProgress::kCompletedEarly : DetachProgress::kIdle;
      expect(!settled.is_attached() || side.claimed == expected, "section 3.3",
             "binding {}: side {} is attached and was left at {}", number, index_of(role),
             static_cast<int>(side.claimed));
      continue;  // still attached, refused, or a client that refused late
    }
    if (is_done(settled, role, Certainty::kMust)) {
      expect(side.claimed == DetachProgress::kDone, "section 3.3", "binding {}: side {} is done and was left at {}",
             number, index_of(role), static_cast<int>(side.claimed));
    } else if (side.detach == Stage::kReturned && side.detach_status == kPending) {
      expect(side.claimed == DetachProgress::kPending, "section 3.3", "binding {}: side {} pends and was left at {}",
             number, index_of(role), static_cast<int>(side.claimed));
    }
  }
  if (is_detached(settled, Certainty::kMust)) {
    check_settled_cleanups(number, settled);
    return;
  }
  if (is_detached(settled, Certainty::kMay)) {
    return;
  }
  const BindingState expected = !settled.accepted                      ? BindingState::kGone
                                : may_detach(settled, Role::kProvider) ? BindingState::kDetaching
                                                                       : BindingState::kAttached;
  expect(settled.claimed == expected, "section 3.3", "binding {} was left in state {} instead of {}", number,
         static_cast<int>(settled.claimed), static_cast<int>(expected));
}

void ReferenceModel::check_settled_cleanups(ObjectNumber number, const Binding& settled) {
  const bool waits = options_.cleanup_comes_with_wait && !owner(settled, Role::kClient).wait_tried &&
                     !owner(settled, Role::kProvider).wait_tried;
  if (waits) {
    expect(settled.claimed >= BindingState::kDetached, "section 3.3", "binding {} was left in state {}", number,
           static_cast<int>(settled.claimed));
    return;
  }
  for (const Role role : kRoles) {
    expect(settled.side(role).cleanup == Stage::kReturned || !owes_cleanup(settled, role), "G14",
           "binding {}: side {} was never cleaned up", number, index_of(role));
  }
  expect(settled.claimed == BindingState::kGone, "section 3.3", "binding {} was left in state {}", number,
         static_cast<int>(settled.claimed));
}

}  // namespace nmrfuzz::nmr
