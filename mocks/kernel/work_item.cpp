// work_item.cpp - work items of the I/O manager and of the executive.
//
// Each queued item runs on a worker thread of its own at PASSIVE_LEVEL. From the moment its routine is entered the item
// may be queued again, and freed. An I/O work item holds its device object, and with it the driver's image, from
// queueing until the routine has returned; a WORK_QUEUE_ITEM holds nothing.
//
// Sources: documentation pages "System Worker Threads", "IoQueueWorkItem", "IoFreeWorkItem", "ExQueueWorkItem".
#include <ntddk.h>

#include "kernel/deferred_work.h"
#include "kernel/device.h"
#include "kernel/kernel_memory.h"
#include "kernel/mutant.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using schedule::ThreadRole;

bool is_io_work_item(ObjectKind kind) { return kind == ObjectKind::kIoWorkItem; }
bool is_work_item(ObjectKind kind) { return kind == ObjectKind::kWorkItem; }

// The record behind an I/O work item, at a scheduling point; nullptr after a breach. `if_gone`: what it means that the
// item was freed before.
Object* use(Kernel& kernel, Routine routine, PIO_WORKITEM item, Outcome if_gone) {
  kernel.check_irql(routine);
  if (was_given_back(kernel, routine, item, if_gone) || !kernel.probe(routine, item, sizeof *item)) {
    return nullptr;
  }
  return kernel.find_at_point(routine, item->ObjectNumber, item, is_io_work_item);
}

// Queued work of I/O items holds the image of the driver whose device it was made for; `device` 0: of its own driver.
void hold(Kernel& kernel, ModuleNumber module, ObjectNumber device) {
  if (device != 0) {
    Object& object = kernel.objects().at(device);
    ++object.holders;
    module = object.module;
  }
  ++kernel.module(module).image_holders;
}

void let_go(Kernel& kernel, ModuleNumber module, ObjectNumber device) {
  if (device != 0) {
    Object& object = kernel.objects().at(device);
    module = object.module;
    --object.holders;
    release_device_if_unused(kernel, object);
  }
  ModuleState& state = kernel.module(module);
  if (--state.image_holders == 0 && state.unloading) {
    kernel.scheduler().make_runnable(state.unload_waiter);
  }
}

// The body of an I/O work item's thread.
void run_io_work_item(void*) {
  Kernel& kernel = current_kernel();
  const Work* const work = begin_work(kernel, Routine::WorkItemRoutine);
  if (work == nullptr) {
    return;
  }
  Object& object = kernel.objects().at(work->object);
  const ModuleNumber module = work->module;
  const ObjectNumber device = object.link;
  object.queued = false;
  ++object.running;
  kernel.call_into(module, Routine::WorkItemRoutine, [work] {
    if (work->argument2 != nullptr) {
      reinterpret_cast<PIO_WORKITEM_ROUTINE_EX>(work->routine)(work->argument1, work->context,
                                                               static_cast<PIO_WORKITEM>(work->address));
    } else {
      reinterpret_cast<PIO_WORKITEM_ROUTINE>(work->routine)(static_cast<PDEVICE_OBJECT>(work->argument1),
                                                            work->context);
    }
  });
  --object.running;
  end_work(kernel, Routine::WorkItemRoutine);
  let_go(kernel, module, device);
}

// `extended`: the routine also gets the item.
void queue_io_work_item(Routine routine, PIO_WORKITEM item, void* worker_routine, PVOID context, bool extended) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, routine, item, Outcome::kFreedObject);
  if (object == nullptr || !kernel.probe(routine, worker_routine, 1)) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (object->queued && !is_mutant(Mutant::kQueuesWorkItemTwice)) {
    kernel.breach(routine, Outcome::kQueuedTwice, number);
    return;
  }
  if (object->link != 0 && kernel.objects().at(object->link).kind != ObjectKind::kDevice) {
    kernel.breach(routine, Outcome::kFreedObject, object->link);
    return;
  }
  object->queued = true;
  Work work;
  work.object = number;
  work.kind = ObjectKind::kIoWorkItem;
  work.module = kernel.thread_state().module;
  work.address = item;
  work.routine = worker_routine;
  work.context = context;
  work.argument1 = object->argument1;
  work.argument2 = extended ? item : nullptr;
  if (!is_mutant(Mutant::kHoldsNoImage)) {
    hold(kernel, work.module, object->link);
  }
  queue_work(kernel, Routine::WorkItemRoutine, ThreadRole::kWorker, &run_io_work_item, work, kPassiveLevel);
  kernel.called(routine, number);
  // The routine may run, and free the item, before the caller gets any further.
  kernel.point(routine, 0, Access::kNone);
}

// Ends the record of an item that is freed or uninitialised.
void end_item(Kernel& kernel, Routine routine, Object& object) {
  const ObjectNumber number = kernel.number_of(object);
  if (object.queued) {
    kernel.breach(routine, Outcome::kFreedWhileQueued, number);
    object.queued = false;
    const ModuleNumber module = object.module;
    if (take_back_work(kernel, Routine::WorkItemRoutine, number)) {
      let_go(kernel, module, object.link);
    }
  }
  kernel.called(routine, number);
  object.kind = ObjectKind::kNone;
}

// Makes the record of an item at `item` for `io_object`, a device or driver object; nullptr after a breach.
Object* make_item(Kernel& kernel, Routine routine, PIO_WORKITEM item, PVOID io_object) {
  ObjectNumber device = 0;
  if (!find_device_or_driver(kernel, routine, io_object, device)) {
    return nullptr;
  }
  Object& object = initialise_record(kernel, routine, ObjectKind::kIoWorkItem, item->ObjectNumber, item);
  object.link = device;
  object.argument1 = io_object;
  item->ObjectNumber = kernel.number_of(object);
  return &object;
}

// The body of an executive work item's thread.
void run_work_item(void*) {
  Kernel& kernel = current_kernel();
  const Work* const work = begin_work(kernel, Routine::WorkItemRoutine);
  if (work == nullptr) {
    return;
  }
  Object& object = kernel.objects().at(work->object);
  object.queued = false;
  ++object.running;
  kernel.call_into(work->module, Routine::WorkItemRoutine,
                   [work] { reinterpret_cast<PWORKER_THREAD_ROUTINE>(work->routine)(work->context); });
  --object.running;
  end_work(kernel, Routine::WorkItemRoutine);
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT DeviceObject) {
  constexpr Routine kRoutine = Routine::IoAllocateWorkItem;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  auto* const item =
      static_cast<PIO_WORKITEM>(kernel.fails(kRoutine) ? nullptr : allocate_kernel_memory(kernel, sizeof(IO_WORKITEM)));
  if (item == nullptr) {
    kernel.called(kRoutine, 0, kStatusInsufficientResources);
    return nullptr;
  }
  Object* const object = make_item(kernel, kRoutine, item, DeviceObject);
  if (object == nullptr) {
    free_kernel_memory(kernel, kRoutine, item);
    return nullptr;
  }
  object->flags = kIoWorkItemAllocated;
  kernel.called(kRoutine, kernel.number_of(*object));
  return item;
}

VOID IoFreeWorkItem(PIO_WORKITEM IoWorkItem) {
  constexpr Routine kRoutine = Routine::IoFreeWorkItem;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, IoWorkItem, Outcome::kDeletedTwice);
  if (object == nullptr) {
    return;
  }
  if ((object->flags & kIoWorkItemAllocated) == 0) {
    kernel.breach(kRoutine, Outcome::kWrongObject, kernel.number_of(*object));
    return;
  }
  end_item(kernel, kRoutine, *object);
  free_kernel_memory(kernel, kRoutine, IoWorkItem);
}

VOID IoInitializeWorkItem(PVOID IoObject, PIO_WORKITEM IoWorkItem) {
  constexpr Routine kRoutine = Routine::IoInitializeWorkItem;
  Kernel& kernel = current_kernel();
  if (!kernel.probe(kRoutine, IoWorkItem, sizeof *IoWorkItem)) {
    return;
  }
  if (const Object* const object = make_item(kernel, kRoutine, IoWorkItem, IoObject); object != nullptr) {
    kernel.called(kRoutine, kernel.number_of(*object));
  }
}

VOID IoUninitializeWorkItem(PIO_WORKITEM IoWorkItem) {
  constexpr Routine kRoutine = Routine::IoUninitializeWorkItem;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, IoWorkItem, Outcome::kFreedObject);
  if (object == nullptr) {
    return;
  }
  if ((object->flags & kIoWorkItemAllocated) != 0) {
    kernel.breach(kRoutine, Outcome::kWrongObject, kernel.number_of(*object));
    return;
  }
  end_item(kernel, kRoutine, *object);
}

ULONG IoSizeofWorkItem(void) { return sizeof(IO_WORKITEM); }

VOID IoQueueWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE WorkerRoutine, WORK_QUEUE_TYPE, PVOID Context) {
  queue_io_work_item(Routine::IoQueueWorkItem, IoWorkItem, reinterpret_cast<void*>(WorkerRoutine), Context, false);
}

VOID IoQueueWorkItemEx(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE_EX WorkerRoutine, WORK_QUEUE_TYPE, PVOID Context) {
  queue_io_work_item(Routine::IoQueueWorkItemEx, IoWorkItem, reinterpret_cast<void*>(WorkerRoutine), Context, true);
}

VOID ExInitializeWorkItem(PWORK_QUEUE_ITEM Item, PWORKER_THREAD_ROUTINE Routine, PVOID Context) {
  constexpr auto kRoutine = nmrfuzz::kernel::Routine::ExInitializeWorkItem;
  Kernel& kernel = current_kernel();
  if (!kernel.probe(kRoutine, Item, sizeof *Item)) {
    return;
  }
  Object* const object = kernel.objects().find(Item->ObjectNumber, Item);
  if (object != nullptr && is_work_item(object->kind) && object->queued) {
    kernel.breach(kRoutine, Outcome::kReinitializedWhileQueued, Item->ObjectNumber);
    take_back_work(kernel, nmrfuzz::kernel::Routine::WorkItemRoutine, Item->ObjectNumber);
    object->queued = false;
  }
  Item->List.Flink = nullptr;
  Item->WorkerRoutine = Routine;
  Item->Parameter = Context;
}

VOID ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE) {
  constexpr Routine kRoutine = Routine::ExQueueWorkItem;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  if (!kernel.probe(kRoutine, WorkItem, sizeof *WorkItem)) {
    return;
  }
  const auto worker_routine = reinterpret_cast<void*>(WorkItem->WorkerRoutine);
  if (!kernel.probe(kRoutine, worker_routine, 1)) {
    return;
  }
  // The structure is made by hand or by a macro in many drivers: the record is made here.
  Object* object = kernel.objects().find(WorkItem->ObjectNumber, WorkItem);
  if (object == nullptr || !is_work_item(object->kind)) {
    object = &kernel.add_object(ObjectKind::kWorkItem, WorkItem);
    WorkItem->ObjectNumber = kernel.number_of(*object);
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (object->queued) {
    kernel.breach(kRoutine, Outcome::kQueuedTwice, number);
    return;
  }
  object->queued = true;
  object->module = kernel.thread_state().module;
  Work work;
  work.object = number;
  work.kind = ObjectKind::kWorkItem;
  work.module = object->module;
  work.address = WorkItem;
  work.routine = worker_routine;
  work.context = WorkItem->Parameter;
  queue_work(kernel, Routine::WorkItemRoutine, ThreadRole::kWorker, &run_work_item, work, kPassiveLevel);
  kernel.called(kRoutine, number);
  // The routine may run, and free the item, before the caller gets any further.
  kernel.point(kRoutine, 0, Access::kNone);
}

}  // extern "C"
