#include "module/access.h"

#include <cstdint>

#include "kernel/kernel.h"
#include "module/raw_memory.h"

namespace nmrfuzz::module {

using kernel::Pool;
using trace::Outcome;

namespace {

constexpr std::uintptr_t kNullPages = 0x10000;  // Windows never maps the first 64 KiB

[[gnu::noinline]] void look_closer(const void* pointer, std::size_t bytes, bool is_write) {
  const Outcome outcome = check_access(pointer, bytes);
  if (outcome != Outcome::kOk) {
    kernel::Kernel& kernel = kernel::current_kernel();
    kernel.write(trace::EventKind::kBadAccess, kernel::Routine::MemoryAccess, kernel.pool().block_around(pointer), 0,
                 bytes, is_write ? 1 : 0, outcome);
  }
}

// Runs before every access of a module, so the common cases cost a few compares and no call.
template <std::size_t kBytes, bool kWrite>
[[gnu::always_inline]] NMRFUZZ_RAW inline void before_access(const void* pointer) {
  kernel::Kernel* const kernel = kernel::kernel_in_force;
  if (kernel == nullptr) {
    return;
  }
  if (Pool::contains(pointer)) {
    const Pool& pool = kernel->pool();
    if (!pool.surely_allowed(pointer, kBytes) || pool.has_paged()) [[unlikely]] {
      look_closer(pointer, kBytes, kWrite);
    }
  } else if (reinterpret_cast<std::uintptr_t>(pointer) < kNullPages) [[unlikely]] {
    look_closer(pointer, kBytes, kWrite);
  }
}

}  // namespace

Outcome check_access(const void* pointer, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(pointer) < kNullPages) {
    return Outcome::kNullAccess;
  }
  if (!Pool::contains(pointer)) {
    return Outcome::kOk;
  }
  kernel::Kernel& kernel = kernel::current_kernel();
  const Pool& pool = kernel.pool();
  const Outcome outcome = pool.check(pointer, bytes);
  if (outcome == Outcome::kOk && kernel.irql() >= kernel::kDispatchLevel && pool.has_paged() &&
      pool.block(pool.block_around(pointer)).type == kernel::PoolType::kPaged) {
    return Outcome::kPagedAtRaisedIrql;
  }
  return outcome;
}

}  // namespace nmrfuzz::module

using nmrfuzz::module::before_access;

extern "C" {

#define NMRFUZZ_ACCESS_CALLBACKS(bytes)                                                                       \
  NMRFUZZ_RAW void __sanitizer_cov_load##bytes(const void* pointer) { before_access<bytes, false>(pointer); } \
  NMRFUZZ_RAW void __sanitizer_cov_store##bytes(const void* pointer) { before_access<bytes, true>(pointer); }

NMRFUZZ_ACCESS_CALLBACKS(1)
NMRFUZZ_ACCESS_CALLBACKS(2)
NMRFUZZ_ACCESS_CALLBACKS(4)
NMRFUZZ_ACCESS_CALLBACKS(8)
NMRFUZZ_ACCESS_CALLBACKS(16)

// Modules announce their coverage counters at load. Where libFuzzer is linked its definitions win over these.
__attribute__((weak)) void __sanitizer_cov_8bit_counters_init(std::uint8_t*, std::uint8_t*) {}
__attribute__((weak)) void __sanitizer_cov_pcs_init(const std::uintptr_t*, const std::uintptr_t*) {}
}
