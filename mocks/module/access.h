// access.h - what happens before each plain load and store of a module: our own check of null page and pool.
//
// Modules are compiled with -fsanitize-coverage=trace-loads,trace-stores (compile.h); the callbacks, which the program
// exports, are in access.cpp. A bad access is written as a kBadAccess event of the execution in force *before* it
// happens: routine MemoryAccess; object: the pool block; a: bytes; b: 1 for a store. With rules attached that ends the
// execution; without them (unit tests) the access goes on. Outside an execution (constructors while a module loads)
// nothing is checked.
//
// Seen: plain, volatile and atomic loads and stores of 1, 2, 4, 8 and 16 bytes, bit-fields included.
// Not seen: atomic read-modify-write, which the headers turn into calls of ours; copies of whole structures, memcpy,
// memset and their kin of variable or larger size: those are left to AddressSanitizer. Addresses outside null page and
// pool arena likewise.
#pragma once

#include <cstddef>

#include "trace/event.h"

namespace nmrfuzz::module {

// How touching `bytes` at `pointer` in the execution in force would be wrong, kOk if it is allowed or not for us to
// say. REQUIRES: an execution is in force.
trace::Outcome check_access(const void* pointer, std::size_t bytes);

}  // namespace nmrfuzz::module
