// stack.h - the call stack of the simulated thread that runs now, as addresses.
//
// Follows frame pointers, which mocks and modules keep. Never reads outside the thread's own stack, so a module that
// has damaged its frames shortens the result and does no harm.
// Thread safety: none. Allocates nothing. Not for the hot loop: stacks are taken when a finding is explained.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nmrfuzz::module {

// Writes up to `capacity` return addresses to `frames`, the caller's own first. Returns how many; 0 when no simulated
// thread runs.
std::size_t capture_stack(std::uintptr_t* frames, std::size_t capacity);

}  // namespace nmrfuzz::module
