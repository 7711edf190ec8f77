// left_over.cpp - resources are found among the records, what runs among the threads.
#include "kernel/left_over.h"

#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

bool is_left_over(const Object& object) {
  switch (object.kind) {
    case ObjectKind::kDevice:
      return !is_mutant(Mutant::kOverlooksDevice) && ((object.flags & kDeviceDeleted) == 0 || object.count != 0);
    case ObjectKind::kThread:
    case ObjectKind::kRundown:
      return object.count != 0;
    case ObjectKind::kIoWorkItem:
      return (object.flags & kIoWorkItemAllocated) != 0;
    case ObjectKind::kExTimer:
      return (object.flags & kExTimerDeleted) == 0;
    case ObjectKind::kSymbolicLink:
    case ObjectKind::kThreadHandle:
    case ObjectKind::kLookasideList:
    case ObjectKind::kCacheAwareRundown:
      return true;
    default:
      return false;
  }
}

bool is_set_timer(const Object& object) {
  return !is_mutant(Mutant::kOverlooksTimer) && object.queued &&
         (is_timer(object.kind) || object.kind == ObjectKind::kExTimer);
}

// The next record of `module` for which `wanted` holds.
template <class Wanted>
LeftOver next_record(Kernel& kernel, ModuleNumber module, LeftOverCursor& cursor, Wanted wanted) {
  while (cursor.object + 1 < kernel.objects().limit()) {
    const Object& object = kernel.objects().at(++cursor.object);
    if (object.module == module && wanted(object)) {
      return {cursor.object, object.kind};
    }
  }
  return {};
}

}  // namespace

LeftOver next_left_over(Kernel& kernel, ModuleNumber module, LeftOverCursor& cursor) {
  return next_record(kernel, module, cursor, is_left_over);
}

LeftOver next_running(Kernel& kernel, ModuleNumber module, LeftOverCursor& cursor) {
  if (const LeftOver timer = next_record(kernel, module, cursor, is_set_timer)) {
    return timer;
  }
  // Whatever is queued or running has a thread; its record may be gone with its memory.
  while (cursor.thread + 1 < kernel.scheduler().thread_limit()) {
    const Work& work = kernel.thread_state(++cursor.thread).work;
    if (work.object != 0 && work.module == module && work.kind != ObjectKind::kIoWorkItem) {
      return {work.object, work.kind};
    }
  }
  return {};
}

}  // namespace nmrfuzz::kernel
