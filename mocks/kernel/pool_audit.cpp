#include "kernel/pool_audit.h"

namespace nmrfuzz::kernel {

std::uint32_t next_leak(const Pool& pool, trace::ModuleNumber module, std::uint32_t after) {
  for (std::uint32_t number = after + 1; number <= pool.count(); ++number) {
    if (pool.block(number).live && pool.block(number).module == module) {
      return number;
    }
  }
  return 0;
}

std::uint32_t next_corrupt(const Pool& pool, std::uint32_t after) {
  for (std::uint32_t number = after + 1; number <= pool.count(); ++number) {
    if (!pool.intact(number)) {
      return number;
    }
  }
  return 0;
}

}  // namespace nmrfuzz::kernel
