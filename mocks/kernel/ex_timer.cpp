// ex_timer.cpp - EX_TIMER: timers from the kernel's own memory with a callback at DISPATCH_LEVEL.
//
// A deleted timer lives on until its last callback has returned; only then is its delete callback called.
// States: unset <-> set;  either -> deleted -> gone (neither set nor a callback queued or running)
// Sources: documentation pages "ExXxxTimer Routines and EX_TIMER Objects", "ExAllocateTimer", "ExSetTimer",
// "ExCancelTimer", "ExDeleteTimer", "Deleting a System-Allocated Timer Object".
#include <ntddk.h>

#include "kernel/deferred_work.h"
#include "kernel/kernel_memory.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using schedule::ThreadRole;

bool is_ex_timer(ObjectKind kind) { return kind == ObjectKind::kExTimer; }

// How a record's general fields are used. holders: callbacks queued or running; running: those entered.
// argument1: the period in 100 ns units, as a number; of a deleted timer the delete callback's context.
// argument2: of a deleted timer its delete callback.
std::uint64_t period_of(const Object& timer) { return reinterpret_cast<std::uint64_t>(timer.argument1); }

// The record behind a timer that is not deleted, at a scheduling point; nullptr after a breach.
Object* use(Kernel& kernel, Routine routine, PEX_TIMER timer) {
  kernel.check_irql(routine);
  if (was_given_back(kernel, routine, timer, Outcome::kFreedObject) || !kernel.probe(routine, timer, sizeof *timer)) {
    return nullptr;
  }
  Object* const object = kernel.find_at_point(routine, timer->Header.ObjectNumber, timer, is_ex_timer);
  if (object != nullptr && (object->flags & kExTimerDeleted) != 0) {
    kernel.breach(routine, Outcome::kFreedObject, kernel.number_of(*object));
    return nullptr;
  }
  return object;
}

// Ends a deleted timer that is neither set nor in use by a callback.
void release_if_idle(Kernel& kernel, ObjectNumber number) {
  Object& timer = kernel.objects().at(number);
  if (!is_ex_timer(timer.kind) || (timer.flags & kExTimerDeleted) == 0 || timer.queued || timer.holders != 0) {
    return;
  }
  const auto callback = reinterpret_cast<PEXT_DELETE_CALLBACK>(timer.argument2);
  void* const context = timer.argument1;
  const ModuleNumber module = timer.module;
  free_kernel_memory(kernel, Routine::ExDeleteTimer, timer.address);
  if (callback != nullptr) {
    kernel.call_into(module, Routine::DpcRoutine, [=] { callback(context); });
  }
}

// The body of a callback's thread.
void run_callback(void*) {
  Kernel& kernel = current_kernel();
  const Work* const work = begin_work(kernel, Routine::DpcRoutine);
  if (work == nullptr) {
    return;
  }
  const ObjectNumber number = work->object;
  Object& timer = kernel.objects().at(number);
  ++timer.running;
  kernel.call_into(work->module, Routine::DpcRoutine, [work] {
    reinterpret_cast<PEXT_CALLBACK>(work->routine)(static_cast<PEX_TIMER>(work->address), work->context);
  });
  --timer.running;
  --timer.holders;
  // Before end_work(), so that a deletion that waits also waits for the delete callback.
  release_if_idle(kernel, number);
  end_work(kernel, Routine::DpcRoutine);
}

// Runs as the clock.
void expire(void* context, std::uint64_t argument) {
  auto& kernel = *static_cast<Kernel*>(context);
  const auto number = static_cast<ObjectNumber>(argument);
  Object& timer = kernel.objects().at(number);
  const bool again = period_of(timer) != 0 && (timer.flags & kExTimerDeleted) == 0;
  timer.queued = again;
  timer.timer =
      again ? kernel.scheduler().arm(kernel.scheduler().now() + period_of(timer), &expire, context, argument) : 0;
  timer.signal = 1;
  kernel.signalled(number);
  // One callback at a time is queued, as with the DPC of a KTIMER.
  if (timer.routine == nullptr || timer.holders > timer.running) {
    return;
  }
  Work work;
  work.object = number;
  work.kind = ObjectKind::kExTimer;
  work.module = timer.module;
  work.address = const_cast<void*>(timer.address);
  work.routine = timer.routine;
  work.context = timer.context;
  ++timer.holders;
  queue_work(kernel, Routine::DpcRoutine, ThreadRole::kDpc, &run_callback, work, kDispatchLevel);
}

bool unset(Kernel& kernel, Object& timer) {
  if (timer.queued) {
    kernel.scheduler().disarm(std::exchange(timer.timer, 0));
  }
  return std::exchange(timer.queued, false);
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

PEX_TIMER ExAllocateTimer(PEXT_CALLBACK Callback, PVOID CallbackContext, ULONG Attributes) {
  constexpr Routine kRoutine = Routine::ExAllocateTimer;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  void* const memory = kernel.fails(kRoutine) ? nullptr : allocate_kernel_memory(kernel, sizeof(EX_TIMER));
  if (memory == nullptr) {
    kernel.called(kRoutine, 0, kStatusInsufficientResources);
    return nullptr;
  }
  Object& object = kernel.add_object(ObjectKind::kExTimer, memory);
  object.flags = (Attributes & EX_TIMER_NOTIFICATION) != 0 ? kExTimerNotification : 0;
  object.routine = reinterpret_cast<void*>(Callback);
  object.context = CallbackContext;
  auto* const timer = static_cast<PEX_TIMER>(memory);
  timer->Header.ObjectNumber = kernel.number_of(object);
  kernel.called(kRoutine, kernel.number_of(object));
  return timer;
}

BOOLEAN ExSetTimer(PEX_TIMER Timer, LONGLONG DueTime, LONGLONG Period, PEXT_SET_PARAMETERS) {
  constexpr Routine kRoutine = Routine::ExSetTimer;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Timer);
  if (object == nullptr) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (Period < 0) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, number);
    return FALSE;
  }
  const bool was_set = unset(kernel, *object);
  object->queued = true;
  object->signal = 0;
  object->argument1 = reinterpret_cast<void*>(Period);
  object->timer = kernel.scheduler().arm(kernel.due_at(DueTime), &expire, &kernel, number);
  kernel.called(kRoutine, number, was_set, static_cast<std::uint64_t>(Period));
  // The timer may expire, and its callback run, before the caller gets any further.
  kernel.point(kRoutine, 0, Access::kNone);
  return was_set;
}

BOOLEAN ExCancelTimer(PEX_TIMER Timer, PEXT_CANCEL_PARAMETERS) {
  constexpr Routine kRoutine = Routine::ExCancelTimer;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Timer);
  if (object == nullptr) {
    return FALSE;
  }
  const bool was_set = unset(kernel, *object);
  kernel.called(kRoutine, kernel.number_of(*object), was_set);
  return was_set;
}

BOOLEAN ExDeleteTimer(PEX_TIMER Timer, BOOLEAN Cancel, BOOLEAN Wait, PEXT_DELETE_PARAMETERS Parameters) {
  constexpr Routine kRoutine = Routine::ExDeleteTimer;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Timer);
  if (object == nullptr || (Parameters != nullptr && !kernel.probe(kRoutine, Parameters, sizeof *Parameters))) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (Wait && !Cancel) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, number);
  }
  if (Wait && kernel.irql() >= kDispatchLevel) {
    kernel.breach(kRoutine, Outcome::kWaitAtRaisedIrql, number);
  }
  const bool was_set = Cancel && unset(kernel, *object);
  object->flags |= kExTimerDeleted;
  object->argument1 = Parameters != nullptr ? Parameters->DeleteContext : nullptr;
  object->argument2 = Parameters != nullptr ? reinterpret_cast<void*>(Parameters->DeleteCallback) : nullptr;
  if (Cancel && Wait) {
    wait_for_work(kernel, kRoutine, ThreadRole::kDpc, number);
  } else {
    kernel.called(kRoutine, number, was_set);
  }
  release_if_idle(kernel, number);
  return was_set;
}

}  // extern "C"
