// kernel_memory.h - structures that the kernel itself provides and the module holds by pointer: thread and device
// objects, I/O work items, timers of ExAllocateTimer.
//
// They lie in the pool's arena in blocks of the environment (module 0), so that addresses are the same in every run and
// any use after the release is recognised, but no leak rule counts them: what must be given back is known from the
// records.
#pragma once

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

// Zeroed memory of `bytes`; nullptr if the arena is full.
void* allocate_kernel_memory(Kernel& kernel, std::size_t bytes);

// Gives back what `memory`, the start of such a block, holds. Objects inside end with it; a breach for each that may
// not.
void free_kernel_memory(Kernel& kernel, Routine routine, const void* memory);

// The record of the structure at `pointer`, whichever kind it has; nullptr if there is none, in live pool memory or
// not.
Object* record_at(Kernel& kernel, const void* pointer);

// Whether `pointer` is the start of such a block that was given back: breach `outcome` then.
bool was_given_back(Kernel& kernel, Routine routine, const void* pointer, Outcome outcome);

}  // namespace nmrfuzz::kernel
