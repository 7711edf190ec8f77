#include "contract/calls.h"

#include "kernel/routine.h"
#include "kernel/status.h"

namespace nmrfuzz::contract {

using nmr::Callback;
using nmr::HandleState;
using nmr::Role;
using trace::Event;
using trace::EventKind;
using trace::ObjectNumber;

namespace {

constexpr std::size_t kClient = nmr::index_of(Role::kClient);
constexpr std::size_t kProvider = nmr::index_of(Role::kProvider);

}  // namespace

Calls::Calls(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(
      *this, {EventKind::kAttachCallEnter, EventKind::kAttachCallExit, EventKind::kCallbackEnter,
              EventKind::kCallbackExit, EventKind::kComplete, EventKind::kNpiCallEnter, EventKind::kNpiCallExit});
}

void Calls::reset() {
  bindings_.clear();
  calls_.clear();
  owners_.clear();
}

Calls::Binding& Calls::at(ObjectNumber binding) { return grown(bindings_, binding); }

void Calls::on_event(const Event& event) {
  switch (event.kind) {
    case EventKind::kNpiCallEnter:
      on_call(event);
      break;
    case EventKind::kNpiCallExit:
      on_call_end(event);
      break;
    case EventKind::kAttachCallEnter:
      if (event.module == 0) {
        learn_context(event.b, event.object, Role::kProvider);
      }
      break;
    case EventKind::kAttachCallExit:
      if (event.module != 0 && event.status == 0) {
        Binding& binding = at(event.object);
        binding.sides[kClient].use = Use::kAllowed;
        if (binding.peer_provides) {
          learn_context(event.b, event.object, Role::kClient);
        }
      }
      break;
    case EventKind::kCallbackEnter:
      on_callback_enter(event);
      break;
    case EventKind::kCallbackExit:
      on_callback_exit(event);
      break;
    default:
      on_complete(event);
      break;
  }
}

void Calls::learn_context(std::uint64_t number, ObjectNumber binding, Role caller) {
  if (number == 0 || binding == 0) {
    return;
  }
  Owner& owner = grown(owners_, number);
  owner.several = owner.several || (owner.binding != 0 && owner.binding != binding);
  owner.binding = binding;
  owner.caller = static_cast<std::uint8_t>(caller);
}

void Calls::on_call(const Event& event) {
  if (event.module == 0) {  // the environment's own
    return;
  }
  Call& call = grown(calls_, event.thread);
  call = {event.object, event.status, current_number()};
  if (call.binding == 0) {
    const Owner owner = owner_of(event.b);
    if (owner.binding == 0 || owner.several || owner.caller != event.status) {
      return;
    }
    call.binding = owner.binding;
  }
  const std::string_view rule = breach_of(event, call.binding);
  if (!rule.empty()) {
    report(FindingKind::kUseAfterDetach, rule, event);
  }
}

// The rule that the call breaks by beginning now; empty if none.
std::string_view Calls::breach_of(const Event& event, ObjectNumber binding) {
  const Side& side = at(binding).sides[event.status];
  switch (side.use) {
    case Use::kForbidden:
      return event.status == kClient ? "R43" : "R55";
    case Use::kOver:
      return side.cleans_up && side.cleanup_thread == event.thread ? "R87" : "R58";
    case Use::kAllowed:
      break;
  }
  const Owner owner = owner_of(event.b);
  return owner.binding == 0 || owner.several || owner.binding == binding ? "" : "R63";
}

void Calls::on_call_end(const Event& event) {
  if (event.module != 0) {
    grown(calls_, event.thread) = {};
  }
}

void Calls::on_callback_enter(const Event& event) {
  const auto callback = static_cast<Callback>(event.a);
  Binding& binding = at(event.object);
  if (event.module == 0) {
    binding.peer_provides = binding.peer_provides || callback == Callback::kProviderAttachClient;
  } else if (callback == Callback::kProviderAttachClient) {
    binding.sides[kProvider].use = Use::kAllowed;
  } else if (callback == Callback::kClientCleanupBindingContext ||
             callback == Callback::kProviderCleanupBindingContext) {
    Side& side = binding.sides[callback == Callback::kClientCleanupBindingContext ? kClient : kProvider];
    side.cleans_up = true;
    side.cleanup_thread = event.thread;
  }
}

void Calls::on_callback_exit(const Event& event) {
  if (event.module == 0) {
    return;
  }
  const auto status = static_cast<kernel::Status>(event.status);
  switch (static_cast<Callback>(event.a)) {
    case Callback::kProviderAttachClient:
      if (status != kernel::kStatusSuccess) {
        end_use(event, kProvider, Use::kForbidden, "R55");
      }
      break;
    case Callback::kClientDetachProvider:
    case Callback::kProviderDetachClient:
      if (status == kernel::kStatusSuccess) {
        const bool client = static_cast<Callback>(event.a) == Callback::kClientDetachProvider;
        end_use(event, client ? kClient : kProvider, Use::kOver, "R66");
      }
      break;
    case Callback::kClientCleanupBindingContext:
      at(event.object).sides[kClient].cleans_up = false;
      break;
    case Callback::kProviderCleanupBindingContext:
      at(event.object).sides[kProvider].cleans_up = false;
      break;
    case Callback::kClientAttachProvider:
      break;
  }
}

void Calls::on_complete(const Event& event) {
  if (event.module != 0 && static_cast<HandleState>(event.a) == HandleState::kValid) {
    const bool client =
        event.routine == static_cast<trace::RoutineNumber>(kernel::Routine::NmrClientDetachProviderComplete);
    end_use(event, client ? kClient : kProvider, Use::kOver, "R71");
  }
}

// A side calls no more; `rule` forbids that while calls of its own are running. The call is the cause.
void Calls::end_use(const Event& event, std::size_t side, Use use, std::string_view rule) {
  at(event.object).sides[side].use = use;
  for (const Call& call : calls_) {
    if (call.binding == event.object && call.side == side) {
      report(FindingKind::kUseAfterDetach, rule, event, call.entered);
      return;
    }
  }
}

}  // namespace nmrfuzz::contract
