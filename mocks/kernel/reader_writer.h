// reader_writer.h - what reader/writer spin locks and push locks have in common: one exclusive or many shared holders.
//
// Whoever wants a lock exclusive holds off new shared holders, as on Windows: a thread that takes a lock shared twice
// can deadlock with a writer that comes in between.
// Record: owner = the exclusive holder, readers = shared holds, count = threads that want it exclusive and wait.
#pragma once

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

enum class SharedRecursion : bool { kForbidden, kAllowed };

// Each is a scheduling point before it takes effect and writes the call's event with `a`. A breach (lock taken again
// where that is not allowed, released by one that does not hold it, freed meanwhile) leaves the lock as it is.
void acquire_exclusive(Kernel& kernel, Routine routine, Object& lock, std::uint64_t a = 0);
void acquire_shared(Kernel& kernel, Routine routine, Object& lock, SharedRecursion recursion, std::uint64_t a = 0);

// The caller adds the scheduling point behind a release, once it has restored what it changed.
void release_exclusive(Kernel& kernel, Routine routine, Object& lock);
void release_shared(Kernel& kernel, Routine routine, Object& lock);

// Makes the current thread, a shared holder, the exclusive one. False if there are other holders or somebody waits to
// be the exclusive one.
bool try_convert_to_exclusive(Kernel& kernel, Routine routine, Object& lock);

}  // namespace nmrfuzz::kernel
