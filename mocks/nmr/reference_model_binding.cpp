// reference_model_binding.cpp - the border of bindings: offers, attach calls, the six callbacks, completions.
//
// Source: contract sections 2, 3.3 and 5; each check names its sentence.
#include <algorithm>

#include "kernel/routine.h"
#include "nmr/reference_model.h"

namespace nmrfuzz::nmr {
namespace {

using trace::Event;
using trace::EventKind;

Role role_of_callback(Callback callback) {
  return callback < Callback::kProviderAttachClient ? Role::kClient : Role::kProvider;
}

}  // namespace

// --- Attach ------------------------------------------------------------------------------------------------

void ReferenceModel::offer(const Event& event) {
  const auto client_number = static_cast<ObjectNumber>(event.a);
  const auto provider_number = static_cast<ObjectNumber>(event.b);
  const Registration* const client = registration(client_number);
  const Registration* const provider = registration(provider_number);
  if (client == nullptr || provider == nullptr || bindings_.contains(event.object)) {
    disagree("G1", fmt::format("binding {} of client {} and provider {} is not new, or not of two registrations",
                               event.object, client_number, provider_number));
    return;
  }
  expect(client->role == Role::kClient && provider->role == Role::kProvider, "G1",
         "binding {} joins registrations {} and {}, which are not client and provider", event.object, client_number,
         provider_number);
  expect(client->npi == provider->npi, "G2", "binding {} joins NPIs {} and {}", event.object, client->npi,
         provider->npi);
  for (const ObjectNumber number : {client_number, provider_number}) {
    const Registration& side = registrations_.at(number);
    expect(!side.deregistered, "G9", "binding {} was offered after Deregister of {} had returned", event.object,
           number);
    expect(side.claimed == RegistrationState::kRegistering || side.claimed == RegistrationState::kActive, "section 3.2",
           "binding {} was offered with registration {} in state {}", event.object, number,
           static_cast<int>(side.claimed));
  }
  check_offered_before(event);
  Binding& made = bindings_[event.object];
  made.client = client_number;
  made.provider = provider_number;
}

void ReferenceModel::check_offered_before(const Event& event) {
  for (const auto& [number, earlier] : bindings_) {
    if (earlier.client != event.a || earlier.provider != event.b || may_be_offered_again(earlier)) {
      continue;
    }
    const bool was_declined = earlier.client_attach == Stage::kReturned && !earlier.is_attached();
    disagree(was_declined ? "G26" : "G1",
             fmt::format("client {} and provider {} were offered as binding {} and again as {}", event.a, event.b,
                         number, event.object));
  }
}

bool ReferenceModel::may_be_offered_again(const Binding& earlier) const {
  return options_.refused_pairs_are_offered_again && earlier.client_attach == Stage::kReturned && !earlier.accepted &&
         registrations_.size() > earlier.registrations_at_refusal;
}

void ReferenceModel::enter_attach_call(const Event& event) {
  push(event);
  Binding* const pair = binding(event.object);
  if (pair == nullptr) {
    expect(!is_valid(event.a), "G5", "NmrClientAttachProvider accepted a handle of no binding");
    return;
  }
  const bool is_open = pair->client_attach == Stage::kRunning && pair->attach_calls_running == 0 && !pair->accepted &&
                       is_inside_client_attach(event);
  switch (static_cast<HandleState>(event.a)) {
    case HandleState::kValid:
      expect(is_open, "section 3.3", "NmrClientAttachProvider was accepted for binding {} outside its offer",
             event.object);
      ++pair->attach_calls_running;
      pair->provider_attach = Stage::kNotEntered;  // a second attempt asks the provider again
      pair->side(Role::kClient).context = event.b;
      return;
    case HandleState::kWrongState:
      // After a refusal some worlds allow no second attempt (A10).
      expect(!is_open || pair->was_refused, "G5", "NmrClientAttachProvider was refused for the offered binding {}",
             event.object);
      return;
    case HandleState::kStale:
      expect(is_gone(*pair, Certainty::kMay), "G5", "the handle of binding {} was called stale before it was gone",
             event.object);
      return;
    case HandleState::kNull:
    case HandleState::kUnknown:
      disagree("G5", fmt::format("the handle of binding {} was not recognised", event.object));
      return;
    case HandleState::kWrongKind:
    case HandleState::kForeign:
      return;
  }
}

// Whether the client's attach callback for the binding is on the stack of the event's thread (section 8.2).
bool ReferenceModel::is_inside_client_attach(const Event& event) {
  const std::vector<Frame>& stack = frames_[event.thread];
  return std::any_of(stack.begin(), stack.end(), [&](const Frame& frame) {
    return frame.entered_by == EventKind::kCallbackEnter && frame.object == event.object &&
           static_cast<Callback>(frame.a) == Callback::kClientAttachProvider;
  });
}

void ReferenceModel::exit_attach_call(const Event& event) {
  const std::optional<Frame> frame = pop(event, EventKind::kAttachCallEnter);
  Binding* const pair = binding(event.object);
  if (!frame.has_value() || pair == nullptr || !is_valid(frame->a)) {
    expect(is_error(event.status), "G5", "NmrClientAttachProvider with a bad handle returned {:#x}", event.status);
    return;
  }
  --pair->attach_calls_running;
  if (frame->called_provider) {
    expect(event.status == pair->provider_status, "G3",
           "NmrClientAttachProvider for binding {} returned {:#x}, its provider {:#x}", event.object, event.status,
           pair->provider_status);
  } else {
    expect(is_error(event.status), "G3", "NmrClientAttachProvider for binding {} returned {:#x} without its provider",
           event.object, event.status);
  }
  const bool accepted = event.status == kSuccess;
  pair->accepted = accepted;
  pair->was_refused = pair->was_refused || !accepted;
  if (accepted) {
    pair->side(Role::kProvider).context = event.b;
  }
  expect(pair->claimed == (accepted ? BindingState::kAccepted : BindingState::kOffered), "section 3.3",
         "NmrClientAttachProvider for binding {} returned {:#x} in state {}", event.object, event.status,
         static_cast<int>(pair->claimed));
}

// --- Callbacks ---------------------------------------------------------------------------------------------

void ReferenceModel::enter_callback(const Event& event) {
  Binding* const pair = binding(event.object);
  if (pair == nullptr || event.a > static_cast<std::uint64_t>(Callback::kProviderCleanupBindingContext)) {
    disagree("section 3.3", fmt::format("unknown callback {} of binding {}", event.a, event.object));
    push(event);
    return;
  }
  const auto callback = static_cast<Callback>(event.a);
  const Role role = role_of_callback(callback);
  const bool is_attach = callback == Callback::kClientAttachProvider || callback == Callback::kProviderAttachClient;
  const Registration& callee = owner(*pair, role);
  expect(event.module == callee.module, "G7", "binding {}: callback {} went to module {} instead of {}", event.object,
         event.a, event.module, callee.module);
  const std::uint64_t context = is_attach ? callee.context : pair->side(role).context;
  expect(event.b == context, "G7", "binding {}: callback {} was given context {} instead of {}", event.object, event.a,
         event.b, context);
  expect(event.irql <= (is_attach ? kernel::kPassiveLevel : kernel::kDispatchLevel), is_attach ? "G4" : "G13",
         "binding {}: callback {} was entered at IRQL {}", event.object, event.a, event.irql);
  switch (callback) {
    case Callback::kClientAttachProvider:
      enter_client_attach(event, *pair);
      break;
    case Callback::kProviderAttachClient:
      enter_provider_attach(event, *pair);
      break;
    case Callback::kClientDetachProvider:
    case Callback::kProviderDetachClient:
      enter_detach(event, *pair, role);
      break;
    case Callback::kClientCleanupBindingContext:
    case Callback::kProviderCleanupBindingContext:
      enter_cleanup(event, *pair, role);
      break;
  }
  push(event);
}

void ReferenceModel::enter_client_attach(const Event& event, Binding& pair) {
  expect(pair.client_attach == Stage::kNotEntered, "G1", "binding {} was offered to its client twice", event.object);
  expect(pair.claimed == BindingState::kOffered, "section 3.3", "binding {} was offered to its client in state {}",
         event.object, static_cast<int>(pair.claimed));
  expect(!owner(pair, Role::kClient).deregistered, "G9",
         "binding {}: the client's attach callback started after its Deregister had returned", event.object);
  pair.client_attach = Stage::kRunning;
}

void ReferenceModel::enter_provider_attach(const Event& event, Binding& pair) {
  std::vector<Frame>& stack = frames_[event.thread];
  const bool is_nested = !stack.empty() && stack.back().entered_by == EventKind::kAttachCallEnter &&
                         stack.back().object == event.object && is_valid(stack.back().a) &&
                         !stack.back().called_provider;
  expect(is_nested, "G3", "binding {}: the provider's attach callback is not nested in its NmrClientAttachProvider",
         event.object);
  expect(pair.provider_attach != Stage::kRunning, "G3", "binding {}: two attach callbacks of the provider at once",
         event.object);
  expect(!owner(pair, Role::kProvider).deregistered, "G9",
         "binding {}: the provider's attach callback started after its Deregister had returned", event.object);
  if (is_nested) {
    stack.back().called_provider = true;
  }
  pair.provider_attach = Stage::kRunning;
}

void ReferenceModel::enter_detach(const Event& event, Binding& pair, Role role) {
  Side& side = pair.side(role);
  expect(pair.attach_is_over(), "G8", "binding {}: detach callback {} before the attach had ended", event.object,
         event.a);
  expect(!pair.attach_is_over() || may_detach(pair, role), pair.is_attached() ? "G29" : "G11",
         "binding {}: detach callback {} without an attached binding and a deregistration", event.object, event.a);
  expect(side.detach == Stage::kNotEntered, "G10", "binding {}: detach callback {} was called twice", event.object,
         event.a);
  expect(pair.claimed == BindingState::kDetaching, "section 3.3", "binding {}: detach callback {} in state {}",
         event.object, event.a, static_cast<int>(pair.claimed));
  side.detach = Stage::kRunning;
}

void ReferenceModel::enter_cleanup(const Event& event, Binding& pair, Role role) {
  Side& side = pair.side(role);
  expect(tolerates_cleanup(pair, role), is_detached(pair, Certainty::kMay) ? "section 6 A17, A11" : "G16",
         "binding {}: cleanup callback {} is not owed", event.object, event.a);
  expect(is_done(pair, Role::kClient, Certainty::kMay) && is_done(pair, Role::kProvider, Certainty::kMay), "G14",
         "binding {}: cleanup callback {} before both sides were done", event.object, event.a);
  for (const Side& each : pair.sides) {
    expect(each.detach != Stage::kRunning, "G15", "binding {}: cleanup callback {} during a detach callback",
           event.object, event.a);
  }
  expect(side.cleanup == Stage::kNotEntered, "G14", "binding {}: cleanup callback {} was called twice", event.object,
         event.a);
  expect(pair.claimed == BindingState::kDetached || pair.claimed == BindingState::kCleaning, "section 3.3",
         "binding {}: cleanup callback {} in state {}", event.object, event.a, static_cast<int>(pair.claimed));
  side.cleanup = Stage::kRunning;
}

void ReferenceModel::exit_callback(const Event& event) {
  pop(event, EventKind::kCallbackEnter);
  Binding* const pair = binding(event.object);
  if (pair == nullptr) {
    return;
  }
  const auto callback = static_cast<Callback>(event.a);
  Side& side = pair->side(role_of_callback(callback));
  switch (callback) {
    case Callback::kClientAttachProvider:
      return exit_client_attach(event, *pair);
    case Callback::kProviderAttachClient:
      pair->provider_attach = Stage::kReturned;
      pair->provider_status = event.status;
      expect(pair->claimed == BindingState::kNegotiating, "section 3.3",
             "binding {}: the provider's attach callback returned in state {}", event.object,
             static_cast<int>(pair->claimed));
      return;
    case Callback::kClientDetachProvider:
    case Callback::kProviderDetachClient:
      side.detach = Stage::kReturned;
      side.detach_status = event.status;
      expect(side.claimed == DetachProgress::kCalling || side.claimed == DetachProgress::kCallingCompleted,
             "section 3.3", "binding {}: detach callback {} returned with its side at {}", event.object, event.a,
             static_cast<int>(side.claimed));
      return;
    case Callback::kClientCleanupBindingContext:
    case Callback::kProviderCleanupBindingContext:
      side.cleanup = Stage::kReturned;
      expect(pair->claimed == BindingState::kCleaning, "section 3.3",
             "binding {}: cleanup callback {} returned in state {}", event.object, event.a,
             static_cast<int>(pair->claimed));
      return;
  }
}

void ReferenceModel::exit_client_attach(const Event& event, Binding& pair) {
  pair.client_attach = Stage::kReturned;
  pair.client_status = event.status;
  pair.registrations_at_refusal = registrations_.size();
  stopped_ = pair.is_refused_late() && options_.late_refusal == ModelOptions::LateRefusal::kStop;
  expect(pair.claimed == (pair.accepted ? BindingState::kAccepted : BindingState::kOffered), "section 3.3",
         "binding {}: the client's attach callback returned in state {}", event.object, static_cast<int>(pair.claimed));
}

// --- Completion --------------------------------------------------------------------------------------------

void ReferenceModel::complete(const Event& event) {
  Binding* const pair = binding(event.object);
  if (pair == nullptr) {
    expect(!is_valid(event.a), "G5", "a detach was completed with a handle of no binding");
    stopped_ = options_.bad_completion_stops;
    return;
  }
  const Role role = role_of_routine(event.routine);
  Side& side = pair->side(role);
  // The side may be at kCalling by claim just before its callback is entered.
  const bool has_begun = side.detach != Stage::kNotEntered || side.claimed == DetachProgress::kCalling;
  const bool remembers = options_.early_complete_is_remembered;
  const bool may_be_first = side.completions == 0 && !is_done(*pair, role, Certainty::kMust);
  const bool is_accepted = pair->accepted || pair->claimed == BindingState::kAccepted;
  const bool may_accept = may_be_first && (has_begun || (remembers && is_accepted));
  const bool is_bound =
      pair->is_attached() || pair->claimed == BindingState::kAttached || pair->claimed == BindingState::kDetaching;
  const bool must_accept =
      may_be_first && !is_done(*pair, role, Certainty::kMay) && (has_begun || (remembers && is_bound));
  const auto state = static_cast<HandleState>(event.a);
  stopped_ = options_.bad_completion_stops && state != HandleState::kValid;
  if (state == HandleState::kValid) {
    expect(may_accept, "section 3.3", "binding {}: a completion was accepted with side {} at {}", event.object,
           index_of(role), static_cast<int>(side.claimed));
    expect(event.b == static_cast<std::uint64_t>(side.claimed), "section 3.3",
           "binding {}: a completion found side {} at {} instead of {}", event.object, index_of(role), event.b,
           static_cast<int>(side.claimed));
    ++side.completions;
  } else if (state == HandleState::kWrongState) {
    expect(!must_accept, "G18", "binding {}: a completion was refused with side {} at {}", event.object, index_of(role),
           static_cast<int>(side.claimed));
  } else if (state == HandleState::kStale) {
    expect(is_gone(*pair, Certainty::kMay), "G5", "the handle of binding {} was called stale before it was gone",
           event.object);
  } else if (state == HandleState::kNull || state == HandleState::kUnknown) {
    disagree("G5", fmt::format("the handle of binding {} was not recognised", event.object));
  }
}

}  // namespace nmrfuzz::nmr
