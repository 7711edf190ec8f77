// event.cpp - KEVENT: notification and synchronization events.
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

bool is_event(ObjectKind kind) {
  return kind == ObjectKind::kNotificationEvent || kind == ObjectKind::kSynchronizationEvent;
}

// The record behind an event, at a scheduling point; nullptr after a breach.
[[gnu::always_inline]] inline Object* use(Kernel& kernel, Routine routine, PRKEVENT event) {
  kernel.check_irql(routine);
  if (!kernel.probe(routine, event, sizeof *event)) {
    return nullptr;
  }
  return kernel.find_at_point(routine, event->Header.ObjectNumber, event, is_event);
}

// Takes the signal away; returns whether it was there.
LONG clear(Routine routine, PRKEVENT event) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, routine, event);
  if (object == nullptr) {
    return 0;
  }
  const LONG old = std::exchange(object->signal, is_mutant(Mutant::kClearsNothing) ? object->signal : 0);
  event->Header.SignalState = 0;
  kernel.called(routine, kernel.number_of(*object), old);
  return old;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

VOID KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State) {
  constexpr Routine kRoutine = Routine::KeInitializeEvent;
  Kernel& kernel = current_kernel();
  if (!kernel.probe(kRoutine, Event, sizeof *Event)) {
    return;
  }
  Object& object = kernel.add_object(Type == NotificationEvent && !is_mutant(Mutant::kTakesNotificationEvent)
                                         ? ObjectKind::kNotificationEvent
                                         : ObjectKind::kSynchronizationEvent,
                                     Event);
  object.signal = State ? 1 : 0;
  *Event = {};
  Event->Header.Type = static_cast<UCHAR>(Type);
  Event->Header.SignalState = object.signal;
  Event->Header.ObjectNumber = kernel.number_of(object);
  kernel.called(kRoutine, kernel.number_of(object), object.signal);
}

LONG KeSetEvent(PRKEVENT Event, KPRIORITY, BOOLEAN Wait) {
  constexpr Routine kRoutine = Routine::KeSetEvent;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Event);
  if (object == nullptr) {
    return 0;
  }
  if (Wait && kernel.irql() >= kDispatchLevel) {
    kernel.breach(kRoutine, Outcome::kWaitAtRaisedIrql, kernel.number_of(*object));
  }
  const ObjectNumber number = kernel.number_of(*object);
  const LONG old = std::exchange(object->signal, 1);
  kernel.called(kRoutine, number, old);
  kernel.signalled(number);
  // The event's memory may be gone as soon as a waiter runs; nothing below looks at it.
  Event->Header.SignalState = object->signal;
  // A waiter may run, and even unload the module, before the setter gets any further.
  kernel.point(kRoutine, number);
  return old;
}

LONG KeResetEvent(PRKEVENT Event) { return clear(Routine::KeResetEvent, Event); }

VOID KeClearEvent(PRKEVENT Event) { clear(Routine::KeClearEvent, Event); }

LONG KeReadStateEvent(PRKEVENT Event) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, Routine::KeReadStateEvent, Event);
  if (object == nullptr) {
    return 0;
  }
  kernel.called(Routine::KeReadStateEvent, kernel.number_of(*object), object->signal);
  return object->signal;
}

}  // extern "C"
