// access_inline.h - the one funnel of every access of a module: inline, since it runs before each of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/kernel.h"
#include "module/raw_memory.h"
#include "race/accesses.h"

namespace nmrfuzz::module {

inline constexpr std::uintptr_t kNullPages = 0x10000;  // Windows never maps the first 64 KiB
inline constexpr std::size_t kBytesTestedQuickly = 16;

// Judges an access that the quick tests did not pass, and writes it as an event if it is wrong.
void look_closer(const void* pointer, std::size_t bytes, bool is_write);

// Called with `bytes` >= 1 before the module touches them. `bytes`, `kind` and `is_write` are constants in most
// callers, so the common cases cost a few compares and no call.
[[gnu::always_inline]] NMRFUZZ_RAW inline void before_access(const void* pointer, std::size_t bytes,
                                                             race::AccessKind kind, bool is_write) {
  kernel::Kernel* const kernel = kernel::kernel_in_force;
  if (kernel == nullptr) {
    return;
  }
  race::Accesses* const accesses = race::accesses_in_force;
  std::uint64_t ordinal = 0;
  if (accesses != nullptr) {
    ordinal = accesses->reach(pointer, bytes, kind, is_write);  // others may go first, so all else comes after
  }
  if (kernel::Pool::contains(pointer)) {
    const kernel::Pool& pool = kernel->pool();
    if (bytes > kBytesTestedQuickly || !pool.surely_allowed(pointer, bytes) || pool.has_paged()) [[unlikely]] {
      look_closer(pointer, bytes, is_write);
    }
  } else if (reinterpret_cast<std::uintptr_t>(pointer) < kNullPages) [[unlikely]] {
    look_closer(pointer, bytes, is_write);
  }
  if (accesses != nullptr) {
    accesses->make(ordinal, pointer, bytes, kind, is_write);
  }
}

}  // namespace nmrfuzz::module
