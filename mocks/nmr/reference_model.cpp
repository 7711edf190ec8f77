// reference_model.cpp - the border of registrations: Register, Deregister, wait; and how calls nest on each thread.
//
// Source: contract sections 2, 3 and 5; each check names its sentence.
#include "nmr/reference_model.h"

#include <algorithm>

#include "kernel/routine.h"

namespace nmrfuzz::nmr {
namespace {

using trace::Event;
using trace::EventKind;

// A registrar gone wrong disagrees with everything; the first lines tell why.
constexpr std::size_t kDisagreementsMaximum = 100;

}  // namespace

void ReferenceModel::observe(trace::Recorder& recorder) {
  recorder_ = &recorder;
  recorder.subscribe(
      *this, {EventKind::kBlock, EventKind::kDeadlock, EventKind::kRegisterEnter, EventKind::kRegisterExit,
              EventKind::kDeregisterEnter, EventKind::kDeregisterExit, EventKind::kWaitEnter, EventKind::kWaitExit,
              EventKind::kOffer, EventKind::kAttachCallEnter, EventKind::kAttachCallExit, EventKind::kCallbackEnter,
              EventKind::kCallbackExit, EventKind::kComplete, EventKind::kRegistrationState, EventKind::kBindingState,
              EventKind::kSideState});
}

void ReferenceModel::reset(const ModelOptions& options) {
  options_ = options;
  events_seen_ = 0;
  event_number_ = 0;
  deadlocked_ = false;
  stopped_ = false;
  registrations_.clear();
  bindings_.clear();
  frames_.clear();
  disagreements_.clear();
}

void ReferenceModel::on_event(const Event& event) {
  event_number_ = recorder_ != nullptr ? recorder_->size() - 1 : events_seen_;
  ++events_seen_;
  expect(!stopped_, "section 6 A11, A27", "the registrar goes on where it had to stop (event kind {})",
         static_cast<int>(event.kind));
  switch (event.kind) {
    case EventKind::kRegisterEnter:
      return enter_register(event);
    case EventKind::kRegisterExit:
      return exit_register(event);
    case EventKind::kDeregisterEnter:
      return enter_deregister(event);
    case EventKind::kDeregisterExit:
      return exit_deregister(event);
    case EventKind::kWaitEnter:
      return enter_wait(event);
    case EventKind::kWaitExit:
      return exit_wait(event);
    case EventKind::kOffer:
      return offer(event);
    case EventKind::kAttachCallEnter:
      return enter_attach_call(event);
    case EventKind::kAttachCallExit:
      return exit_attach_call(event);
    case EventKind::kCallbackEnter:
      return enter_callback(event);
    case EventKind::kCallbackExit:
      return exit_callback(event);
    case EventKind::kComplete:
      return complete(event);
    case EventKind::kRegistrationState:
      return claim_registration(event);
    case EventKind::kBindingState:
      return claim_binding(event);
    case EventKind::kSideState:
      return claim_side(event);
    case EventKind::kBlock:
      return block(event);
    case EventKind::kDeadlock:
      deadlocked_ = true;
      return;
    default:
      return;
  }
}

// --- Register ----------------------------------------------------------------------------------------------

void ReferenceModel::enter_register(const Event& event) {
  push(event);
  if (event.object == 0) {
    return;  // refused before anything was made
  }
  const bool is_new = !registrations_.contains(event.object);
  expect(is_new, "section 3.2", "registration {} is registered twice", event.object);
  if (!is_new) {
    return;
  }
  const std::size_t registrations_before = registrations_.size();
  Registration& made = registrations_[event.object];
  made.registrations_before = registrations_before;
  made.role = role_of_routine(event.routine);
  made.module = event.module;
  made.npi = event.a;
  made.context = event.b;
  made.has_cleanup = (event.status & 1) != 0;
  made.registers_running = 1;
}

void ReferenceModel::exit_register(const Event& event) {
  pop(event, EventKind::kRegisterEnter);
  Registration* const made = registration(event.object);
  if (made == nullptr) {
    expect(event.object == 0 && is_error(event.status), "G24", "Register of unknown registration {} returned {:#x}",
           event.object, event.status);
    return;
  }
  made->registers_running = 0;
  if (is_error(event.status)) {
    expect(made->claimed == RegistrationState::kNone, "G24", "Register of {} failed with {:#x} and left it in state {}",
           event.object, event.status, static_cast<int>(made->claimed));
    for (const auto& [number, pair] : bindings_) {
      expect(pair.client != event.object && pair.provider != event.object, "G24, G25",
             "Register of {} failed with {:#x} after binding {} of it had been offered", event.object, event.status,
             number);
    }
    return;
  }
  expect(event.status == kSuccess, "section 2.1", "Register of {} returned {:#x}", event.object, event.status);
  expect(event.a == 0, "G24", "Register of {} succeeded although its failure was injected", event.object);
  expect(made->claimed != RegistrationState::kNone && made->claimed != RegistrationState::kRegistering, "section 3.2",
         "Register of {} returned success in state {}", event.object, static_cast<int>(made->claimed));
  made->registered = true;
  check_pairs_offered(event.object);
  check_refused_offered_again(event.object);
}

// Where offers are made before Register returns, two registrations that have both returned have been paired: by the
// later one, or by whichever of two concurrent ones found the other.
void ReferenceModel::check_pairs_offered(ObjectNumber number) {
  const Registration& mine = registrations_.at(number);
  if (options_.offers_may_follow_register || mine.deregister_tried) {
    return;
  }
  for (const auto& [other_number, other] : registrations_) {
    if (other.role == mine.role || other.npi != mine.npi || !other.registered || other.deregister_tried) {
      continue;
    }
    const ObjectNumber client = mine.role == Role::kClient ? number : other_number;
    const ObjectNumber provider = mine.role == Role::kClient ? other_number : number;
    const bool offered = std::any_of(bindings_.begin(), bindings_.end(), [&](const auto& entry) {
      return entry.second.client == client && entry.second.provider == provider;
    });
    expect(offered, "G1", "client {} and provider {} have both registered and were never offered to each other", client,
           provider);
  }
}

// reoffer=on_new_registration (A12): when this Register returns, the pairs of its NPI that had been refused before it
// came have been offered again, unless one of them leaves, or another Register that still runs has taken it up.
void ReferenceModel::check_refused_offered_again(ObjectNumber number) {
  const Registration& mine = registrations_.at(number);
  const bool is_alone = std::none_of(registrations_.begin(), registrations_.end(), [&](const auto& entry) {
    return entry.second.npi == mine.npi && entry.second.registers_running > 0;
  });
  if (!options_.refused_pairs_are_offered_again || options_.offers_may_follow_register || !is_alone) {
    return;
  }
  for (const auto& [refused, pair] : bindings_) {
    const Registration& client = registrations_.at(pair.client);
    const bool was_refused = pair.client_attach == Stage::kReturned && !pair.accepted;
    const bool stays = !client.deregister_tried && !registrations_.at(pair.provider).deregister_tried;
    if (client.npi == mine.npi && was_refused && pair.registrations_at_refusal <= mine.registrations_before && stays) {
      expect(is_offered_again(refused), "section 6 A12",
             "registration {} came, and client {} and provider {} were not offered to each other again", number,
             pair.client, pair.provider);
    }
  }
}

bool ReferenceModel::is_offered_again(ObjectNumber refused) const {
  const Binding& pair = bindings_.at(refused);
  return std::any_of(bindings_.upper_bound(refused), bindings_.end(), [&](const auto& entry) {
    return entry.second.client == pair.client && entry.second.provider == pair.provider;
  });
}

// --- Deregister --------------------------------------------------------------------------------------------

// `is_open`: the claimed state is one in which the contract allows the call.
void ReferenceModel::check_registration_handle(const Event& event, const Registration& named, bool is_open) {
  const bool right_kind = named.role == role_of_routine(event.routine);
  const bool is_dead = named.claimed == RegistrationState::kClosed || named.claimed == RegistrationState::kNone;
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kValid:
      expect(right_kind, "G22", "the handle of registration {} was accepted by a call of the other role", event.object);
      expect(is_open, "section 3.2", "the handle of registration {} was accepted in state {}", event.object,
             static_cast<int>(named.claimed));
      return;
    case HandleState::kWrongState:
      expect(!is_open && !is_dead, "section 3.2", "the handle of registration {} was refused in state {}", event.object,
             static_cast<int>(named.claimed));
      return;
    case HandleState::kStale:
      expect(is_dead, "G5", "the handle of registration {} was called stale in state {}", event.object,
             static_cast<int>(named.claimed));
      return;
    case HandleState::kNull:
    case HandleState::kUnknown:
      disagree("G5", fmt::format("the handle of registration {} was not recognised", event.object));
      return;
    case HandleState::kWrongKind:
    case HandleState::kForeign:
      return;
  }
}

void ReferenceModel::enter_deregister(const Event& event) {
  push(event);
  Registration* const named = registration(event.object);
  if (named == nullptr) {
    expect(!is_valid(event.a), "G5", "Deregister accepted a handle of no registration");
    return;
  }
  check_registration_handle(
      event, *named, named->claimed == RegistrationState::kRegistering || named->claimed == RegistrationState::kActive);
  if (is_valid(event.a)) {
    ++named->deregisters_running;
    named->deregister_tried = true;
  }
}

void ReferenceModel::exit_deregister(const Event& event) {
  const std::optional<Frame> frame = pop(event, EventKind::kDeregisterEnter);
  Registration* const named = registration(event.object);
  if (!frame.has_value() || named == nullptr || !is_valid(frame->a)) {
    expect(event.status == kInvalidParameter, "section 6 A26", "Deregister with a bad handle returned {:#x}",
           event.status);
    return;
  }
  --named->deregisters_running;
  if (is_error(event.status)) {
    // The loser of two concurrent calls (X8) fails lawfully.
    expect(named->may_be_deregistered() || options_.deregister_may_fail, "section 2.1",
           "Deregister of {} failed with {:#x}", event.object, event.status);
    expect(named->may_be_deregistered() || named->claimed <= RegistrationState::kActive, "section 6 A26",
           "Deregister of {} failed and changed its state to {}", event.object, static_cast<int>(named->claimed));
    return;
  }
  expect(!named->deregistered, "section 3.2", "registration {} was deregistered twice", event.object);
  named->deregistered = true;
  expect(named->claimed >= RegistrationState::kDeregistering, "section 3.2",
         "Deregister of {} returned {:#x} in state {}", event.object, event.status, static_cast<int>(named->claimed));
  if (event.status == kPending) {
    // Closed without any wait: only the call that succeeds at once may do that.
    expect(named->claimed != RegistrationState::kClosed || named->wait_tried, "section 3.2",
           "registration {} was closed by a Deregister that returned STATUS_PENDING", event.object);
    return;
  }
  expect(event.status == kSuccess && options_.deregister_succeeds_when_idle, "section 6 A1",
         "Deregister of {} returned {:#x}", event.object, event.status);
  expect(is_drained(event.object, Certainty::kMay), "G20", "Deregister of {} succeeded with bindings left",
         event.object);
  expect(named->claimed == RegistrationState::kClosed, "section 6 A1", "Deregister of {} succeeded and left it open",
         event.object);
}

// --- Wait --------------------------------------------------------------------------------------------------

void ReferenceModel::enter_wait(const Event& event) {
  push(event);
  Registration* const named = registration(event.object);
  if (named == nullptr) {
    expect(!is_valid(event.a), "G5", "the wait accepted a handle of no registration");
    return;
  }
  const bool closed_is_open = options_.second_wait_is_tolerated || options_.deregister_succeeds_when_idle;
  const RegistrationState state = named->claimed;
  check_registration_handle(event, *named,
                            state == RegistrationState::kDeregistering || state == RegistrationState::kDrained ||
                                (closed_is_open && state == RegistrationState::kClosed && is_valid(event.a)));
  if (!is_valid(event.a)) {
    return;
  }
  ++named->waits_running;
  named->wait_tried = true;
  const auto left = std::count_if(bindings_.begin(), bindings_.end(), [&](const auto& entry) {
    const Binding& pair = entry.second;
    return (pair.client == event.object || pair.provider == event.object) && pair.claimed != BindingState::kGone;
  });
  expect(event.b == static_cast<std::uint64_t>(left), "section 8.1",
         "the wait for {} counted {} bindings where {} are left", event.object, event.b, left);
}

void ReferenceModel::exit_wait(const Event& event) {
  const std::optional<Frame> frame = pop(event, EventKind::kWaitEnter);
  Registration* const named = registration(event.object);
  if (!frame.has_value() || named == nullptr || !is_valid(frame->a)) {
    const bool may_succeed =
        frame.has_value() && named != nullptr && static_cast<HandleState>(frame->a) == HandleState::kStale &&
        (options_.second_wait_is_tolerated || (options_.deregister_succeeds_when_idle && named->waits_succeeded == 0));
    expect(event.status == kInvalidParameter || (may_succeed && event.status == kSuccess), "G22",
           "the wait with a bad handle (registration {}) returned {:#x}", event.object, event.status);
    return;
  }
  --named->waits_running;
  expect(event.status == kSuccess, "G22", "the wait for {} returned {:#x}", event.object, event.status);
  if (event.status != kSuccess) {
    return;
  }
  ++named->waits_succeeded;
  expect(is_drained(event.object, Certainty::kMay), "G20", "the wait for {} returned before its bindings were gone",
         event.object);
  expect(named->claimed == RegistrationState::kClosed, "section 3.2", "the wait for {} returned success in state {}",
         event.object, static_cast<int>(named->claimed));
}

// A thread whose innermost frame is a call of Deregister is inside the registrar, not in a module.
void ReferenceModel::block(const Event& event) {
  const auto stack = frames_.find(event.thread);
  if (stack == frames_.end() || stack->second.empty()) {
    return;
  }
  const Frame& innermost = stack->second.back();
  expect(innermost.entered_by != EventKind::kDeregisterEnter, "G19", "Deregister of {} blocks", innermost.object);
}

// --- Small things ------------------------------------------------------------------------------------------

void ReferenceModel::push(const Event& event) {
  frames_[event.thread].push_back({.entered_by = event.kind, .object = event.object, .a = event.a});
}

std::optional<ReferenceModel::Frame> ReferenceModel::pop(const Event& event, EventKind entered_by) {
  std::vector<Frame>& stack = frames_[event.thread];
  const bool is_callback = entered_by == EventKind::kCallbackEnter;
  const auto matches = [&](const Frame& frame) {
    return frame.entered_by == entered_by && frame.object == event.object && (!is_callback || frame.a == event.a);
  };
  expect(!stack.empty() && matches(stack.back()), "nesting",
         "thread {}: what returned for object {} is not what was entered last", event.thread, event.object);
  const auto found = std::find_if(stack.rbegin(), stack.rend(), matches);
  if (found == stack.rend()) {
    return std::nullopt;
  }
  const Frame frame = *found;
  stack.erase(std::next(found).base());
  return frame;
}

Role ReferenceModel::role_of_routine(trace::RoutineNumber routine) {
  using kernel::Routine;
  switch (static_cast<Routine>(routine)) {
    case Routine::NmrRegisterProvider:
    case Routine::NmrDeregisterProvider:
    case Routine::NmrWaitForProviderDeregisterComplete:
    case Routine::NmrProviderDetachClientComplete:
      return Role::kProvider;
    default:
      return Role::kClient;
  }
}

ReferenceModel::Registration* ReferenceModel::registration(ObjectNumber number) {
  const auto found = registrations_.find(number);
  return found == registrations_.end() ? nullptr : &found->second;
}

ReferenceModel::Binding* ReferenceModel::binding(ObjectNumber number) {
  const auto found = bindings_.find(number);
  return found == bindings_.end() ? nullptr : &found->second;
}

const ReferenceModel::Registration& ReferenceModel::owner(const Binding& pair, Role role) const {
  return registrations_.at(role == Role::kClient ? pair.client : pair.provider);
}

void ReferenceModel::disagree(std::string_view rule, const std::string& explanation) {
  if (disagreements_.size() < kDisagreementsMaximum) {
    disagreements_.push_back(fmt::format("event {}: {}: {}", event_number_, rule, explanation));
  }
}

}  // namespace nmrfuzz::nmr
