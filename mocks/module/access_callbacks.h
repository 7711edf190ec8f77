// access_callbacks.h - how the functions are declared that a module's code calls at each access.
//
// Modules call them by the names that clang's ThreadSanitizer pass gives them, "__tsan_read4". Where the program has
// that sanitizer's own run-time library those names are taken: there modules are linked with --wrap, and ours are
// called
// "__wrap___tsan_read4".
#pragma once

#include "module/raw_memory.h"

#if defined(NMRFUZZ_TSAN)
#define NMRFUZZ_CALLBACK_NAME(name) __wrap___tsan_##name
#else
#define NMRFUZZ_CALLBACK_NAME(name) __tsan_##name
#endif

// The access itself is the module's, also where it happens in a function of ours: AddressSanitizer has to see it, and
// death.cpp tells by this section whose fault it is.
#define NMRFUZZ_ON_BEHALF __attribute__((section("nmrfuzz_callbacks"), no_sanitize("coverage", "undefined")))
#define NMRFUZZ_CALLBACK extern "C" NMRFUZZ_RAW NMRFUZZ_ON_BEHALF

namespace nmrfuzz::module {

// Whether `address` is in one of these functions.
bool in_access_callback(const void* address);

}  // namespace nmrfuzz::module
