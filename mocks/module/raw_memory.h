// raw_memory.h - copies and fills that no sanitizer sees: for module data with its red zones, and for shadow memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nmrfuzz::module {

// Code with this attribute is neither checked by nor visible to a sanitizer or coverage. It does not reach callees.
#define NMRFUZZ_RAW __attribute__((disable_sanitizer_instrumentation, no_sanitize("address", "coverage", "undefined")))

NMRFUZZ_RAW inline void raw_copy(void* to, const void* from, std::size_t bytes) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

NMRFUZZ_RAW inline void raw_fill(void* to, std::uint8_t value, std::size_t bytes) {
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

}  // namespace nmrfuzz::module
