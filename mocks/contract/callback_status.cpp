#include "contract/callback_status.h"

#include <algorithm>
#include <optional>

#include "contract/history.h"
#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/states.h"

namespace nmrfuzz::contract {

using kernel::Status;
using nmr::Callback;
using trace::Event;
using trace::EventKind;

namespace {

// The call of a routine that waits, as written in front of the kBlock of its thread.
bool is_wait(const Event& event) {
  return event.kind == EventKind::kCall && waits(static_cast<kernel::Routine>(event.routine));
}

// A refusal by another status than the one for it. To have no memory is an error, not a refusal.
bool declines_otherwise(Status status) {
  return status < 0 && status != kernel::kStatusNoInterface && status != kernel::kStatusInsufficientResources &&
         status != kernel::kStatusNoMemory;
}

}  // namespace

CallbackStatus::CallbackStatus(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kAttachCallExit, EventKind::kComplete, EventKind::kCallbackExit});
}

CallbackStatus::Binding& CallbackStatus::at(trace::ObjectNumber binding) { return grown(bindings_, binding); }

void CallbackStatus::on_event(const Event& event) {
  switch (event.kind) {
    case EventKind::kAttachCallExit:
      at(event.object).asked = true;
      at(event.object).last_status = event.status;
      break;
    case EventKind::kComplete: {
      const bool client =
          event.routine == static_cast<trace::RoutineNumber>(kernel::Routine::NmrClientDetachProviderComplete);
      at(event.object).completed[client ? 0 : 1] = true;
      break;
    }
    default:
      on_callback_exit(event);
      break;
  }
}

// The environment's own peers keep the rules.
void CallbackStatus::on_callback_exit(const Event& event) {
  if (event.module == 0) {
    return;
  }
  note_oddities(event);
  switch (static_cast<Callback>(event.a)) {
    case Callback::kClientAttachProvider:
      on_client_attach(event);
      break;
    case Callback::kProviderAttachClient:
      on_provider_attach(event);
      break;
    case Callback::kClientDetachProvider:
      on_detach(event, 0);
      break;
    case Callback::kProviderDetachClient:
      on_detach(event, 1);
      break;
    default:
      break;
  }
}

// Looks at what the thread did between the entry of the callback and `exit`, its return. A4: a detach callback has
// waited; it was at PASSIVE_LEVEL then, for at DISPATCH_LEVEL, where it may be called too, that is a finding. A6: an
// attach callback has deregistered its own registration; A13: any callback has begun or ended another one.
void CallbackStatus::note_oddities(const Event& exit) {
  const auto callback = static_cast<Callback>(exit.a);
  const bool is_detach = callback == Callback::kClientDetachProvider || callback == Callback::kProviderDetachClient;
  const bool is_attach = callback == Callback::kClientAttachProvider || callback == Callback::kProviderAttachClient;
  for (std::uint64_t number = current_number(); number-- > recorder().first();) {
    const Event& event = recorder().at(number);
    if (event.thread != exit.thread) {
      continue;
    }
    if (event.kind == EventKind::kCallbackEnter && event.object == exit.object && event.a == exit.a) {
      return;
    }
    if (event.kind == EventKind::kBlock && is_detach && number > recorder().first() &&
        is_wait(recorder().at(number - 1))) {
      note(FindingKind::kIrql, "A4", exit);
    } else if ((event.kind == EventKind::kRegisterEnter || event.kind == EventKind::kDeregisterEnter) &&
               event.module == exit.module) {
      const History history(recorder());
      const bool own = event.kind == EventKind::kDeregisterEnter && is_attach &&
                       (history.registration_of(exit.object, nmr::Role::kClient) == event.object ||
                        history.registration_of(exit.object, nmr::Role::kProvider) == event.object);
      note(FindingKind::kBadCall, own ? "A6" : "A13", exit);
    }
  }
}

void CallbackStatus::on_client_attach(const Event& event) {
  const Binding& binding = at(event.object);
  const auto status = static_cast<Status>(event.status);
  const bool accepted = binding.asked && binding.last_status == 0;
  if (status == kernel::kStatusSuccess && !accepted) {
    report(FindingKind::kBadStatus, "R37", event);
  } else if (status > 0) {
    report(FindingKind::kBadStatus, "R38", event);
  } else if (status != kernel::kStatusSuccess && accepted) {
    report(FindingKind::kBadStatus, "R39", event);
  } else if (binding.asked && binding.last_status != event.status) {
    report(FindingKind::kBadStatus, "R36", event);
  } else if (declines_otherwise(status) && !binding.asked) {
    note(FindingKind::kBadStatus, "R31", event);
  }
}

void CallbackStatus::on_provider_attach(const Event& event) {
  const auto status = static_cast<Status>(event.status);
  constexpr std::uint64_t kBothOutputs = 3;
  if (status > 0) {
    report(FindingKind::kBadStatus, "R50", event);
  } else if (status == kernel::kStatusSuccess && event.b != kBothOutputs) {
    report(FindingKind::kBadStatus, "R49", event);
  } else if (declines_otherwise(status)) {
    note(FindingKind::kBadStatus, "R48", event);
  }
}

void CallbackStatus::on_detach(const Event& event, std::size_t role) {
  const auto status = static_cast<Status>(event.status);
  if (status != kernel::kStatusSuccess && status != kernel::kStatusPending) {
    report(FindingKind::kBadStatus, "R65", event);
  } else if (status == kernel::kStatusSuccess && at(event.object).completed[role]) {
    report(FindingKind::kBadCall, "R70", event);
  }
}

}  // namespace nmrfuzz::contract
