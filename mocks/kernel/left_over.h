// left_over.h - what a module has left behind, for the rules about unloading (R108, R109).
#pragma once

#include <cstdint>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

struct LeftOver {
  ObjectNumber object = 0;  // 0: there is nothing more
  ObjectKind kind = ObjectKind::kNone;
  explicit operator bool() const { return object != 0; }
};

// Where such a walk is. Start with a fresh one.
struct LeftOverCursor {
  ObjectNumber object = 0;
  ThreadNumber thread = 0;
};

// The next resource that `module` acquired and has not given back: devices, symbolic links, thread handles, references
// to threads and devices, lookaside lists, I/O work items, timers of ExAllocateTimer, acquired rundown protection.
LeftOver next_left_over(Kernel& kernel, ModuleNumber module, LeftOverCursor& cursor);

// The next reason why code of `module` may yet run: a set timer, or a queued or running DPC, timer callback, executive
// work item or system thread. I/O work items are none: they hold the image, so it cannot be gone before them.
LeftOver next_running(Kernel& kernel, ModuleNumber module, LeftOverCursor& cursor);

}  // namespace nmrfuzz::kernel
