// pool_routines.h - allocating and freeing pool on a module's behalf, for routines that hand out pool memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

struct PoolRequest {
  PoolType type = PoolType::kNonPaged;
  std::size_t bytes = 0;
  std::uint32_t tag = 0;
  bool zero = false;    // else the contents are Pool::kUninitialized
  bool raises = false;  // a failure raises an exception instead of returning NULL
};

// Allocates, for the module that runs, as `routine` (one that can fail): checks IRQL, is a scheduling point, writes
// kAllocate. Returns nullptr on failure, decided or real. The block is the module's to free.
void* allocate_block(Kernel& kernel, Routine routine, const PoolRequest& request);

// Frees the block that starts at `memory`, as `routine`; a breach if there is none. `tag`: what it must have been
// allocated with, 0 for any. Checks IRQL, is a scheduling point, destroys the kernel objects in the block, writes
// kFree.
void free_block(Kernel& kernel, Routine routine, void* memory, std::uint32_t tag);

}  // namespace nmrfuzz::kernel
