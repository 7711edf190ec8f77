// access.h - what happens before each access of a module to memory: our own check of null page and pool.
//
// The compiler puts calls before all accesses or, for atomic operations, copies and fills, in their place (compile.h);
// what they call, and the accesses that have none, are in access_callbacks.cpp. A bad access is written as a kBadAccess
// event of the execution in force *before* it happens: routine MemoryAccess; object: the pool block; a: bytes; b: 1 for
// a store. With rules attached that ends the execution; without them (unit tests) the access goes on. Outside an
// execution (constructors while a module loads) nothing is checked.
//
// Addresses outside null page and pool arena are left to AddressSanitizer.
#pragma once

#include <cstddef>

#include "trace/event.h"

namespace nmrfuzz::module {

// How touching `bytes` at `pointer` in the execution in force would be wrong, kOk if it is allowed or not for us to
// say. REQUIRES: an execution is in force.
trace::Outcome check_access(const void* pointer, std::size_t bytes);

}  // namespace nmrfuzz::module
