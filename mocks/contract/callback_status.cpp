#include "contract/callback_status.h"

#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/states.h"

namespace nmrfuzz::contract {

using kernel::Status;
using nmr::Callback;
using trace::Event;
using trace::EventKind;

CallbackStatus::CallbackStatus(trace::Recorder& recorder, FindingSink& sink) : RuleFamily(recorder, sink) {
  recorder.subscribe(*this, {EventKind::kAttachCallExit, EventKind::kComplete, EventKind::kCallbackExit});
}

CallbackStatus::Binding& CallbackStatus::at(trace::ObjectNumber binding) {
  if (bindings_.size() <= binding) {
    bindings_.resize(binding + 1);
  }
  return bindings_[binding];
}

void CallbackStatus::on_event(const Event& event) {
  if (event.kind == EventKind::kAttachCallExit) {
    Binding& binding = at(event.object);
    binding.asked = true;
    binding.last_status = event.status;
  } else if (event.kind == EventKind::kComplete) {
    const bool client =
        event.routine == static_cast<trace::RoutineNumber>(kernel::Routine::NmrClientDetachProviderComplete);
    at(event.object).completed[client ? 0 : 1] = true;
  } else if (event.module != 0) {  // the environment's own peers keep the rules
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
  }
}

void CallbackStatus::on_provider_attach(const Event& event) {
  const auto status = static_cast<Status>(event.status);
  constexpr std::uint64_t kBothOutputs = 3;
  if (status > 0) {
    report(FindingKind::kBadStatus, "R50", event);
  } else if (status == kernel::kStatusSuccess && event.b != kBothOutputs) {
    report(FindingKind::kBadStatus, "R49", event);
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
