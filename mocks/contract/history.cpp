#include "contract/history.h"

namespace nmrfuzz::contract {

using trace::Event;
using trace::EventKind;

namespace {

bool is_enter(EventKind kind) {
  return kind == EventKind::kRegisterEnter || kind == EventKind::kDeregisterEnter || kind == EventKind::kWaitEnter ||
         kind == EventKind::kAttachCallEnter || kind == EventKind::kCallbackEnter;
}

bool is_exit(EventKind kind) {
  return kind == EventKind::kRegisterExit || kind == EventKind::kDeregisterExit || kind == EventKind::kWaitExit ||
         kind == EventKind::kAttachCallExit || kind == EventKind::kCallbackExit;
}

}  // namespace

bool waits(kernel::Routine routine) {
  switch (routine) {
    case kernel::Routine::KeWaitForSingleObject:
    case kernel::Routine::KeWaitForMultipleObjects:
    case kernel::Routine::ExWaitForRundownProtectionRelease:
    case kernel::Routine::ExWaitForRundownProtectionReleaseCacheAware:
    case kernel::Routine::KeDelayExecutionThread:
      return true;
    default:
      return false;
  }
}

std::optional<Frame> History::innermost(trace::ThreadNumber thread, std::uint64_t below) const {
  std::uint32_t left = 0;  // those that have returned
  for (std::uint64_t number = below; number-- > recorder_.first();) {
    const Event& event = recorder_.at(number);
    if (event.kind == EventKind::kThreadStart && event.object == thread) {
      break;  // an earlier thread of that number
    }
    if (event.thread != thread) {
      continue;
    }
    if (is_exit(event.kind)) {
      ++left;
    } else if (is_enter(event.kind)) {
      if (left == 0) {
        return Frame{event, number};
      }
      --left;
    }
  }
  return std::nullopt;
}

std::optional<Frame> History::innermost_callback(trace::ThreadNumber thread) const {
  std::optional<Frame> frame = innermost(thread);
  while (frame && (!frame->is_callback() || frame->event.module == 0)) {
    frame = innermost(thread, frame->number);
  }
  return frame;
}

trace::ObjectNumber History::registration_of(trace::ObjectNumber binding, nmr::Role role) const {
  const std::uint64_t offer =
      last([&](const Event& event) { return event.kind == EventKind::kOffer && event.object == binding; });
  return offer == 0 ? 0
                    : static_cast<trace::ObjectNumber>(role == nmr::Role::kClient ? recorder_.at(offer).a
                                                                                  : recorder_.at(offer).b);
}

bool History::is_deregistered(trace::ObjectNumber registration) const {
  return any([&](const Event& event) {
    return event.kind == EventKind::kRegistrationState && event.object == registration &&
           static_cast<nmr::RegistrationState>(event.b) == nmr::RegistrationState::kDeregistering;
  });
}

}  // namespace nmrfuzz::contract
