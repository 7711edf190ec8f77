#include "module/access.h"

#include <cstdint>

#include "kernel/kernel.h"
#include "module/access_inline.h"

namespace nmrfuzz::module {

using kernel::Pool;
using trace::Outcome;

void look_closer(const void* pointer, std::size_t bytes, bool is_write) {
  const Outcome outcome = check_access(pointer, bytes);
  if (outcome != Outcome::kOk) {
    kernel::Kernel& kernel = kernel::current_kernel();
    kernel.write(trace::EventKind::kBadAccess, kernel::Routine::MemoryAccess, kernel.pool().block_around(pointer), 0,
                 bytes, is_write ? 1 : 0, outcome);
  }
}

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
