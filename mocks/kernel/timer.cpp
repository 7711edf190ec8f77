// timer.cpp - KTIMER: one-shot and periodic kernel timers with an optional DPC.
//
// A timer expires when the clock is scheduled: at its due time or, as any thread may be slow, at any later moment. The
// clock signals the timer and queues the DPC; neither looks into the KTIMER. Cancelling does not touch a DPC that is
// queued already.
// Sources: documentation pages "Using Timer Objects", "KeSetTimerEx", "KeCancelTimer", "KeInitializeTimerEx".
#include <ntddk.h>

#include "kernel/deferred_work.h"
#include "kernel/dpc.h"
#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kUnitsPerMillisecond = 10'000;  // of 100 ns

void initialise(Routine routine, PKTIMER timer, TIMER_TYPE type) {
  Kernel& kernel = current_kernel();
  if (!kernel.probe(routine, timer, sizeof *timer)) {
    return;
  }
  Object& object = initialise_record(
      kernel, routine, type == NotificationTimer ? ObjectKind::kNotificationTimer : ObjectKind::kSynchronizationTimer,
      timer->Header.ObjectNumber, timer);
  *timer = {};
  timer->Header.Type = static_cast<UCHAR>(type);
  timer->Header.ObjectNumber = kernel.number_of(object);
  kernel.called(routine, kernel.number_of(object));
}

// The record behind a timer, at a scheduling point; nullptr after a breach.
Object* use(Kernel& kernel, Routine routine, PKTIMER timer) {
  kernel.check_irql(routine);
  return kernel.probe(routine, timer, sizeof *timer)
             ? kernel.find_at_point(routine, timer->Header.ObjectNumber, timer, is_timer)
             : nullptr;
}

// Runs as the clock.
void expire(void* context, std::uint64_t argument) {
  auto& kernel = *static_cast<Kernel*>(context);
  const auto number = static_cast<ObjectNumber>(argument);
  Object& timer = kernel.objects().at(number);
  if (!is_timer(timer.kind)) {
    return;  // freed while it was set, which was reported there
  }
  timer.timer = 0;
  timer.queued = timer.period > 0 && !is_mutant(Mutant::kPeriodicOnce);
  if (timer.queued) {
    const std::uint64_t next =
        kernel.scheduler().now() + static_cast<std::uint64_t>(timer.period) * kUnitsPerMillisecond;
    timer.timer = kernel.scheduler().arm(next, &expire, context, argument);
  }
  timer.signal = 1;
  kernel.signalled(number);
  if (timer.link == 0 || is_mutant(Mutant::kTimerForgetsDpc)) {
    return;
  }
  if (kernel.objects().at(timer.link).kind != ObjectKind::kDpc) {
    kernel.breach(Routine::KeSetTimerEx, Outcome::kFreedObject, timer.link);
    return;
  }
  queue_dpc(kernel, timer.link, nullptr, nullptr);
}

// Takes the timer out of the queue of those that are set; returns whether it was in there.
bool unset(Kernel& kernel, Object& timer) {
  if (timer.queued && !is_mutant(Mutant::kCancelsNothing)) {
    kernel.scheduler().disarm(std::exchange(timer.timer, 0));
  }
  return std::exchange(timer.queued, false);
}

// `period` in milliseconds, 0 for one shot.
BOOLEAN set(Routine routine, PKTIMER timer, LARGE_INTEGER due, LONG period, PKDPC dpc) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, routine, timer);
  if (object == nullptr) {
    return FALSE;
  }
  ObjectNumber dpc_number = 0;
  if (dpc != nullptr) {
    if (!kernel.probe(routine, dpc, sizeof *dpc)) {
      return FALSE;
    }
    const Object* const found =
        kernel.find(routine, dpc->ObjectNumber, dpc, [](ObjectKind kind) { return kind == ObjectKind::kDpc; });
    if (found == nullptr) {
      return FALSE;
    }
    dpc_number = kernel.number_of(*found);
  }
  if (period < 0) {
    kernel.breach(routine, Outcome::kBadArgumentValue, kernel.number_of(*object));
    period = 0;
  }
  const ObjectNumber number = kernel.number_of(*object);
  const bool was_set = unset(kernel, *object);
  object->queued = true;
  object->signal = is_mutant(Mutant::kTimerStaysSignalled) ? object->signal : 0;
  object->period = period;
  object->link = dpc_number;
  object->timer = kernel.scheduler().arm(kernel.due_at(due.QuadPart), &expire, &kernel, number);
  timer->Period = period;
  timer->Dpc = dpc;
  kernel.called(routine, number, was_set, static_cast<std::uint64_t>(period), dpc_number);
  // The timer may expire, and its DPC run, before the caller gets any further.
  kernel.point(routine, 0, Access::kNone);
  return was_set;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

VOID KeInitializeTimer(PKTIMER Timer) { initialise(Routine::KeInitializeTimer, Timer, NotificationTimer); }

VOID KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type) { initialise(Routine::KeInitializeTimerEx, Timer, Type); }

BOOLEAN KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc) {
  return set(Routine::KeSetTimer, Timer, DueTime, 0, Dpc);
}

BOOLEAN KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc) {
  return set(Routine::KeSetTimerEx, Timer, DueTime, Period, Dpc);
}

BOOLEAN KeSetCoalescableTimer(PKTIMER Timer, LARGE_INTEGER DueTime, ULONG Period, ULONG, PKDPC Dpc) {
  return set(Routine::KeSetCoalescableTimer, Timer, DueTime, static_cast<LONG>(Period), Dpc);
}

BOOLEAN KeCancelTimer(PKTIMER Timer) {
  constexpr Routine kRoutine = Routine::KeCancelTimer;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Timer);
  if (object == nullptr) {
    return FALSE;
  }
  const bool was_set = unset(kernel, *object);
  kernel.called(kRoutine, kernel.number_of(*object), was_set);
  return was_set;
}

BOOLEAN KeReadStateTimer(PKTIMER Timer) {
  constexpr Routine kRoutine = Routine::KeReadStateTimer;
  Kernel& kernel = current_kernel();
  const Object* const object = use(kernel, kRoutine, Timer);
  if (object == nullptr) {
    return FALSE;
  }
  kernel.called(kRoutine, kernel.number_of(*object), object->signal);
  return object->signal > 0;
}

}  // extern "C"
