// pool_audit.h - walks the pool when an execution has ended: what is still allocated, what was overwritten.
#pragma once

#include <cstdint>

#include "kernel/pool.h"

namespace nmrfuzz::kernel {

// The next live block of `module` behind block number `after`; 0 when there is none. Start with 0.
std::uint32_t next_leak(const Pool& pool, trace::ModuleNumber module, std::uint32_t after);

// The next block behind `after` whose red zones were overwritten (live: an overflow), or whose fill was (freed: written
// after free); 0 when there is none. Start with 0. Reads every byte of freed blocks: for the end of an execution.
std::uint32_t next_corrupt(const Pool& pool, std::uint32_t after);

}  // namespace nmrfuzz::kernel
