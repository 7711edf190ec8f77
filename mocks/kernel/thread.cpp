// thread.cpp - system threads, thread objects, handles, references to objects.
//
// A thread object lives as long as its thread runs, a handle is open or a reference is held; waiting for one that is
// gone is a breach. The object is signalled once the thread has left the module's code for good.
//
// Record of a thread: running = 1 until it ended, holders = open handles, count = references by pointer.
//
// Sources: documentation pages "PsCreateSystemThread", "PsTerminateSystemThread", "ObReferenceObjectByHandle",
// "ObDereferenceObject", "ZwClose", "Life Cycle of an Object", "Object Handles".
#include <ntddk.h>

#include "kernel/deferred_work.h"
#include "kernel/device.h"
#include "kernel/kernel_memory.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using schedule::ThreadRole;

struct ObjectType {};
struct Process {};
ObjectType thread_type;
ObjectType process_type;
ObjectType event_type;
Process system_process;
POBJECT_TYPE thread_type_pointer = reinterpret_cast<POBJECT_TYPE>(&thread_type);
POBJECT_TYPE process_type_pointer = reinterpret_cast<POBJECT_TYPE>(&process_type);
POBJECT_TYPE event_type_pointer = reinterpret_cast<POBJECT_TYPE>(&event_type);

// Handles look like those of the kernel's own table: far from any pointer, small number and other kind of handle.
constexpr std::uintptr_t kHandleBase = 0xffff'ffff'8000'0000;
constexpr unsigned kHandleShift = 2;

bool is_thread(ObjectKind kind) { return kind == ObjectKind::kThread; }

// Makes a thread object whose thread is not known yet; nullptr if there is no memory.
Object* make_thread_object(Kernel& kernel) {
  auto* const thread = static_cast<PKTHREAD>(allocate_kernel_memory(kernel, sizeof(KTHREAD)));
  if (thread == nullptr) {
    return nullptr;
  }
  Object& object = kernel.add_object(ObjectKind::kThread, thread);
  object.running = 1;
  thread->Header.ObjectNumber = kernel.number_of(object);
  return &object;
}

void release_thread_if_unused(Kernel& kernel, Routine routine, Object& thread) {
  if (thread.running == 0 && thread.holders == 0 && thread.count == 0) {
    free_kernel_memory(kernel, routine, thread.address);
  }
}

// The current thread, made by PsCreateSystemThread, has left the module's code.
void end_thread(Kernel& kernel) {
  const ObjectNumber number = kernel.thread_state().object;
  end_work(kernel, Routine::ThreadRoutine);
  Object& object = kernel.objects().at(number);
  object.running = 0;
  object.signal = 1;
  kernel.signalled(number);
  release_thread_if_unused(kernel, Routine::PsTerminateSystemThread, object);
}

// The body of a system thread.
void run_thread(void*) {
  Kernel& kernel = current_kernel();
  const Work* const work = begin_work(kernel, Routine::ThreadRoutine);
  if (work == nullptr) {
    return;
  }
  kernel.call_into(work->module, Routine::ThreadRoutine,
                   [work] { reinterpret_cast<PKSTART_ROUTINE>(work->routine)(work->context); });
  end_thread(kernel);
}

HANDLE open_handle(Kernel& kernel, Object& thread) {
  Object& handle = kernel.add_object(ObjectKind::kThreadHandle, nullptr);
  handle.link = kernel.number_of(thread);
  ++thread.holders;
  return reinterpret_cast<HANDLE>(kHandleBase + (std::uintptr_t{kernel.number_of(handle)} << kHandleShift));
}

std::uintptr_t index_of(HANDLE handle) {
  return (reinterpret_cast<std::uintptr_t>(handle) - kHandleBase) >> kHandleShift;
}

// A scheduling point before something is done with a handle or an object. The object may be gone behind it.
void point_at(Kernel& kernel, Routine routine, HANDLE handle) {
  const std::uintptr_t index = index_of(handle);
  kernel.point(routine, index < kernel.objects().limit() ? static_cast<ObjectNumber>(index) : 0);
}

void point_at_object(Kernel& kernel, Routine routine, const void* pointer) {
  const Object* const object = record_at(kernel, pointer);
  kernel.point(routine, object != nullptr ? kernel.number_of(*object) : 0);
}

// The record of an open handle; nullptr after a breach.
Object* handle_of(Kernel& kernel, Routine routine, HANDLE handle) {
  const std::uintptr_t index = index_of(handle);
  if (index != 0 && index < kernel.objects().limit()) {
    Object& object = kernel.objects().at(static_cast<ObjectNumber>(index));
    if (object.kind == ObjectKind::kThreadHandle) {
      return &object;
    }
  }
  kernel.breach(routine, handle == nullptr ? Outcome::kNullArgument : Outcome::kStaleHandle);
  return nullptr;
}

// What ObReferenceObject counts: a thread or device object. nullptr for objects without a record (driver, process) and
// after a breach; `valid` tells which.
Object* referenced(Kernel& kernel, Routine routine, PVOID pointer, bool& valid) {
  Object* const object = record_at(kernel, pointer);
  if (object != nullptr && is_thread(object->kind)) {
    valid = true;
    return object;
  }
  if (pointer == &system_process) {
    valid = true;
    return nullptr;
  }
  ObjectNumber device = 0;
  valid = find_device_or_driver(kernel, routine, pointer, device);
  return device != 0 ? object : nullptr;
}

LONG_PTR reference(Routine routine, PVOID pointer) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  point_at_object(kernel, routine, pointer);
  bool valid = false;
  Object* const object = referenced(kernel, routine, pointer, valid);
  if (!valid) {
    return 0;
  }
  const LONG_PTR references = object != nullptr ? ++object->count : 1;
  kernel.called(routine, object != nullptr ? kernel.number_of(*object) : 0, 0, static_cast<std::uint64_t>(references));
  return references;
}

LONG_PTR dereference(Routine routine, PVOID pointer) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  point_at_object(kernel, routine, pointer);
  bool valid = false;
  Object* const object = referenced(kernel, routine, pointer, valid);
  if (object == nullptr) {
    if (valid) {
      kernel.called(routine);
    }
    return 0;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (object->count == 0) {
    kernel.breach(routine, Outcome::kReferenceUnderflow, number);
    return 0;
  }
  const LONG_PTR references = --object->count;
  kernel.called(routine, number, 0, static_cast<std::uint64_t>(references));
  if (is_thread(object->kind)) {
    release_thread_if_unused(kernel, routine, *object);
  } else {
    release_device_if_unused(kernel, *object);
  }
  return references;
}

// Whether an object of the kernel's may be asked for as `type`: threads are the only ones that have handles here.
bool is_thread_type(POBJECT_TYPE type) { return type == nullptr || type == thread_type_pointer; }

// The thread object at `pointer`; nullptr and `status` otherwise.
Object* thread_at(Kernel& kernel, Routine routine, PVOID pointer, POBJECT_TYPE type, Status& status) {
  bool valid = false;
  Object* const object = referenced(kernel, routine, pointer, valid);
  const bool fits = object != nullptr && is_thread(object->kind) && is_thread_type(type);
  status = fits ? kStatusSuccess : kStatusObjectTypeMismatch;
  return fits ? object : nullptr;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

POBJECT_TYPE* PsThreadType = &thread_type_pointer;
POBJECT_TYPE* PsProcessType = &process_type_pointer;
POBJECT_TYPE* ExEventObjectType = &event_type_pointer;

NTSTATUS PsCreateSystemThread(PHANDLE ThreadHandle, ULONG, POBJECT_ATTRIBUTES, HANDLE, PCLIENT_ID ClientId,
                              PKSTART_ROUTINE StartRoutine, PVOID StartContext) {
  constexpr Routine kRoutine = Routine::PsCreateSystemThread;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  const auto routine = reinterpret_cast<void*>(StartRoutine);
  if (!kernel.probe(kRoutine, ThreadHandle, sizeof *ThreadHandle) || !kernel.probe(kRoutine, routine, 1) ||
      (ClientId != nullptr && !kernel.probe(kRoutine, ClientId, sizeof *ClientId))) {
    return kStatusInvalidParameter;
  }
  Object* const object = kernel.fails(kRoutine) ? nullptr : make_thread_object(kernel);
  if (object == nullptr) {
    kernel.called(kRoutine, 0, kStatusInsufficientResources);
    return kStatusInsufficientResources;
  }
  const ObjectNumber number = kernel.number_of(*object);
  *ThreadHandle = open_handle(kernel, *object);
  Work work;
  work.object = number;
  work.kind = ObjectKind::kThread;
  work.module = kernel.thread_state().module;
  work.routine = routine;
  work.context = StartContext;
  const ThreadNumber thread =
      queue_work(kernel, Routine::ThreadRoutine, ThreadRole::kSystem, &run_thread, work, kPassiveLevel);
  kernel.thread_state(thread).object = number;
  if (ClientId != nullptr) {
    ClientId->UniqueProcess = PsGetCurrentProcessId();
    ClientId->UniqueThread = reinterpret_cast<HANDLE>(std::uintptr_t{thread} << kHandleShift);
  }
  kernel.called(kRoutine, number);
  // The thread may run, and end, before its creator gets any further.
  kernel.point(kRoutine, 0, Access::kNone);
  return kStatusSuccess;
}

NTSTATUS PsTerminateSystemThread(NTSTATUS) {
  constexpr Routine kRoutine = Routine::PsTerminateSystemThread;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  ThreadState& state = kernel.thread_state();
  if (!is_thread(state.work.kind)) {
    kernel.breach(kRoutine, Outcome::kWrongObject);
    return kStatusInvalidParameter;
  }
  if (state.locks_held != 0) {
    kernel.breach(kRoutine, Outcome::kLockHeldAtReturn, state.object, 0, state.locks_held);
  }
  if (state.critical_regions != 0 || state.guarded_regions != 0) {
    kernel.breach(kRoutine, Outcome::kRegionUnbalanced, state.object);
  }
  kernel.called(kRoutine, state.object);
  kernel.abandon_module_frames();
  end_thread(kernel);
  kernel.scheduler().exit_thread();
  return kStatusSuccess;
}

NTSTATUS ZwClose(HANDLE Handle) {
  constexpr Routine kRoutine = Routine::ZwClose;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  point_at(kernel, kRoutine, Handle);
  Object* const handle = handle_of(kernel, kRoutine, Handle);
  if (handle == nullptr) {
    return kStatusInvalidHandle;
  }
  handle->kind = ObjectKind::kNone;
  kernel.called(kRoutine, kernel.number_of(*handle), kStatusSuccess, handle->link);
  Object& thread = kernel.objects().at(handle->link);
  --thread.holders;
  release_thread_if_unused(kernel, kRoutine, thread);
  return kStatusSuccess;
}

NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK, POBJECT_TYPE ObjectType, KPROCESSOR_MODE, PVOID* Object,
                                   POBJECT_HANDLE_INFORMATION HandleInformation) {
  constexpr Routine kRoutine = Routine::ObReferenceObjectByHandle;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  point_at(kernel, kRoutine, Handle);
  if (!kernel.probe(kRoutine, Object, sizeof *Object) ||
      (HandleInformation != nullptr && !kernel.probe(kRoutine, HandleInformation, sizeof *HandleInformation))) {
    return kStatusInvalidParameter;
  }
  *Object = nullptr;
  auto* const handle = handle_of(kernel, kRoutine, Handle);
  if (handle == nullptr) {
    return kStatusInvalidHandle;
  }
  if (!is_thread_type(ObjectType)) {
    kernel.called(kRoutine, handle->link, kStatusObjectTypeMismatch);
    return kStatusObjectTypeMismatch;
  }
  auto& thread = kernel.objects().at(handle->link);
  ++thread.count;
  *Object = const_cast<void*>(thread.address);
  if (HandleInformation != nullptr) {
    *HandleInformation = {0, THREAD_ALL_ACCESS};
  }
  kernel.called(kRoutine, handle->link, kStatusSuccess, static_cast<std::uint64_t>(thread.count));
  return kStatusSuccess;
}

NTSTATUS ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK, POBJECT_TYPE ObjectType, KPROCESSOR_MODE) {
  constexpr Routine kRoutine = Routine::ObReferenceObjectByPointer;
  if (ObjectType == nullptr || ObjectType == thread_type_pointer) {
    return reference(kRoutine, Object) != 0 ? kStatusSuccess : kStatusInvalidParameter;
  }
  current_kernel().called(kRoutine, 0, kStatusObjectTypeMismatch);
  return kStatusObjectTypeMismatch;
}

NTSTATUS ObOpenObjectByPointer(PVOID Object, ULONG, PVOID, ACCESS_MASK, POBJECT_TYPE ObjectType, KPROCESSOR_MODE,
                               PHANDLE Handle) {
  constexpr Routine kRoutine = Routine::ObOpenObjectByPointer;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  point_at_object(kernel, kRoutine, Object);
  if (!kernel.probe(kRoutine, Handle, sizeof *Handle)) {
    return kStatusInvalidParameter;
  }
  Status status = kStatusSuccess;
  auto* const thread = thread_at(kernel, kRoutine, Object, ObjectType, status);
  *Handle = thread != nullptr ? open_handle(kernel, *thread) : nullptr;
  kernel.called(kRoutine, thread != nullptr ? kernel.number_of(*thread) : 0, status);
  return status;
}

LONG_PTR ObfReferenceObject(PVOID Object) { return reference(Routine::ObReferenceObject, Object); }

LONG_PTR ObfDereferenceObject(PVOID Object) { return dereference(Routine::ObDereferenceObject, Object); }

VOID ObDereferenceObjectDeferDelete(PVOID Object) { dereference(Routine::ObDereferenceObject, Object); }

PKTHREAD KeGetCurrentThread(void) {
  Kernel& kernel = current_kernel();
  ThreadState& state = kernel.thread_state();
  if (state.object == 0) {
    // A thread of the environment gets its object when somebody asks for it, and never ends as far as that shows.
    Object* const object = make_thread_object(kernel);
    if (object == nullptr) {
      return nullptr;
    }
    object->module = 0;
    state.object = kernel.number_of(*object);
  }
  kernel.called(Routine::KeGetCurrentThread, state.object);
  return static_cast<PKTHREAD>(const_cast<void*>(kernel.objects().at(state.object).address));
}

PEPROCESS IoGetCurrentProcess(void) { return reinterpret_cast<PEPROCESS>(&system_process); }

HANDLE PsGetCurrentThreadId(void) {
  const ThreadNumber thread = current_kernel().scheduler().current().number;
  return reinterpret_cast<HANDLE>(std::uintptr_t{thread} << kHandleShift);
}

// The System process.
HANDLE PsGetCurrentProcessId(void) { return reinterpret_cast<HANDLE>(std::uintptr_t{4}); }

}  // extern "C"
