// device.h - device objects, as far as work items need them.
#pragma once

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

// Whether `pointer` can be what an I/O work item or a reference is held on: a device object (`device` is its number),
// or a driver object (0), of which no record exists. A breach if not.
bool find_device_or_driver(Kernel& kernel, Routine routine, const void* pointer, ObjectNumber& device);

// Ends a deleted device object that nobody refers to any more.
void release_device_if_unused(Kernel& kernel, Object& device);

}  // namespace nmrfuzz::kernel
