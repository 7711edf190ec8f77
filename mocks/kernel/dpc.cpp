// dpc.cpp - KDPC: deferred procedure calls, threaded ones too.
//
// Each queued DPC runs on a simulated thread, and so on a processor, of its own. From the moment its routine is entered
// the KDPC may be queued again, and freed. Importance and target processor have no effect: who runs when is decided by
// the strategy.
// Sources: documentation pages "Introduction to DPCs", "KeInsertQueueDpc", "KeRemoveQueueDpc", "KeFlushQueuedDpcs",
// "Introduction to Threaded DPCs".
#include "kernel/dpc.h"

#include <ntddk.h>

#include "kernel/deferred_work.h"
#include "kernel/mutant.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using schedule::ThreadRole;

constexpr UCHAR kDpcObject = 19;  // the Type fields of a KDPC
constexpr UCHAR kThreadedDpcObject = 26;

bool is_dpc(ObjectKind kind) { return kind == ObjectKind::kDpc; }

void initialise(Routine routine, PRKDPC dpc, PKDEFERRED_ROUTINE deferred_routine, PVOID context, bool threaded) {
  Kernel& kernel = current_kernel();
  if (!kernel.probe(routine, dpc, sizeof *dpc)) {
    return;
  }
  Object& object = initialise_record(kernel, routine, ObjectKind::kDpc, dpc->ObjectNumber, dpc);
  object.flags = threaded ? kDpcThreaded : 0;
  object.routine = reinterpret_cast<void*>(deferred_routine);
  object.context = context;
  *dpc = {};
  dpc->Type = threaded ? kThreadedDpcObject : kDpcObject;
  dpc->Importance = MediumImportance;
  dpc->ObjectNumber = kernel.number_of(object);
  dpc->DeferredRoutine = deferred_routine;
  dpc->DeferredContext = context;
  kernel.called(routine, kernel.number_of(object));
}

// The record behind a DPC, at a scheduling point; nullptr after a breach.
Object* use(Kernel& kernel, Routine routine, PRKDPC dpc) {
  kernel.check_irql(routine);
  return kernel.probe(routine, dpc, sizeof *dpc) ? kernel.find_at_point(routine, dpc->ObjectNumber, dpc, is_dpc)
                                                 : nullptr;
}

// The body of a DPC's thread.
void run_dpc(void*) {
  Kernel& kernel = current_kernel();
  const Work* const work = begin_work(kernel, Routine::DpcRoutine);
  if (work == nullptr) {
    return;
  }
  Object& object = kernel.objects().at(work->object);
  object.queued = false;
  ++object.running;
  kernel.call_into(work->module, Routine::DpcRoutine, [work] {
    reinterpret_cast<PKDEFERRED_ROUTINE>(work->routine)(static_cast<PKDPC>(work->address), work->context,
                                                        work->argument1, work->argument2);
  });
  --object.running;
  end_work(kernel, Routine::DpcRoutine);
}

}  // namespace

bool queue_dpc(Kernel& kernel, ObjectNumber number, void* argument1, void* argument2) {
  Object& object = kernel.objects().at(number);
  if (object.queued && !is_mutant(Mutant::kQueuesDpcTwice)) {
    return false;
  }
  object.queued = true;
  Work work;
  work.object = number;
  work.kind = ObjectKind::kDpc;
  work.module = object.module;
  work.address = const_cast<void*>(object.address);
  work.routine = object.routine;
  work.context = object.context;
  work.argument1 = argument1;
  work.argument2 = argument2;
  // A threaded DPC runs as an ordinary one where threaded DPCs are switched off: drivers must cope with both.
  const bool passive =
      is_mutant(Mutant::kDpcAtPassive) ||
      ((object.flags & kDpcThreaded) != 0 && kernel.scheduler().choose(2, schedule::ChoiceKind::kMoment) == 1);
  queue_work(kernel, Routine::DpcRoutine, ThreadRole::kDpc, &run_dpc, work, passive ? kPassiveLevel : kDispatchLevel);
  return true;
}

}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

VOID KeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext) {
  initialise(Routine::KeInitializeDpc, Dpc, DeferredRoutine, DeferredContext, false);
}

VOID KeInitializeThreadedDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext) {
  initialise(Routine::KeInitializeThreadedDpc, Dpc, DeferredRoutine, DeferredContext, true);
}

BOOLEAN KeInsertQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2) {
  constexpr Routine kRoutine = Routine::KeInsertQueueDpc;
  Kernel& kernel = current_kernel();
  const Object* const object = use(kernel, kRoutine, Dpc);
  if (object == nullptr || !kernel.probe(kRoutine, object->routine, 1)) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  const bool queued = queue_dpc(kernel, number, SystemArgument1, SystemArgument2);
  kernel.called(kRoutine, number, queued);
  // The routine may run, and free the KDPC, before the caller gets any further.
  kernel.point(kRoutine, 0, Access::kNone);
  return queued;
}

BOOLEAN KeRemoveQueueDpc(PRKDPC Dpc) {
  constexpr Routine kRoutine = Routine::KeRemoveQueueDpc;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Dpc);
  if (object == nullptr) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  const bool removed = object->queued && take_back_work(kernel, Routine::DpcRoutine, number);
  if (removed) {
    object->queued = false;
  }
  kernel.called(kRoutine, number, removed);
  return removed;
}

VOID KeSetImportanceDpc(PRKDPC Dpc, KDPC_IMPORTANCE Importance) {
  Kernel& kernel = current_kernel();
  if (const Object* const object = use(kernel, Routine::KeSetImportanceDpc, Dpc); object != nullptr) {
    Dpc->Importance = static_cast<UCHAR>(Importance);
    kernel.called(Routine::KeSetImportanceDpc, kernel.number_of(*object));
  }
}

VOID KeSetTargetProcessorDpc(PRKDPC Dpc, CCHAR Number) {
  Kernel& kernel = current_kernel();
  if (const Object* const object = use(kernel, Routine::KeSetTargetProcessorDpc, Dpc); object != nullptr) {
    Dpc->Number = static_cast<UCHAR>(Number);
    kernel.called(Routine::KeSetTargetProcessorDpc, kernel.number_of(*object));
  }
}

NTSTATUS KeSetTargetProcessorDpcEx(PKDPC Dpc, PPROCESSOR_NUMBER ProcNumber) {
  constexpr Routine kRoutine = Routine::KeSetTargetProcessorDpcEx;
  Kernel& kernel = current_kernel();
  const Object* const object = use(kernel, kRoutine, Dpc);
  if (object == nullptr || !kernel.probe(kRoutine, ProcNumber, sizeof *ProcNumber)) {
    return kStatusInvalidParameter;
  }
  const bool exists = ProcNumber->Group == 0 && ProcNumber->Number < GroupState::kProcessors;
  if (exists) {
    Dpc->Number = ProcNumber->Number;
  }
  const Status status = exists ? kStatusSuccess : kStatusInvalidParameter;
  kernel.called(kRoutine, kernel.number_of(*object), status);
  return status;
}

VOID KeFlushQueuedDpcs(void) {
  constexpr Routine kRoutine = Routine::KeFlushQueuedDpcs;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  wait_for_work(kernel, kRoutine, ThreadRole::kDpc, 0);
}

}  // extern "C"
