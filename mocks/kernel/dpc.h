// dpc.h - queueing a DPC from within the kernel: what timers do.
#pragma once

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

// Queues the DPC of record `number`, unless it is queued already (false). From any thread and from the clock.
// REQUIRES: the record is a DPC's.
bool queue_dpc(Kernel& kernel, ObjectNumber number, void* argument1, void* argument2);

}  // namespace nmrfuzz::kernel
