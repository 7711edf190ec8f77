// kernel_memory.cpp - blocks of the environment in the pool, found by address.
#include "kernel/kernel_memory.h"

namespace nmrfuzz::kernel {

void* allocate_kernel_memory(Kernel& kernel, std::size_t bytes) {
  Pool& pool = kernel.pool();
  const std::uint32_t block =
      pool.allocate(bytes, 0, PoolType::kNonPaged, true, 0, kernel.scheduler().recorder().size());
  return block == 0 ? nullptr : pool.address(block);
}

void free_kernel_memory(Kernel& kernel, Routine routine, const void* memory) {
  Pool& pool = kernel.pool();
  const std::uint32_t block = pool.block_at(memory);
  for (ObjectNumber number = pool.block(block).first_object; number != 0;) {
    Object& object = kernel.objects().at(number);
    const Outcome outcome = object.kind == ObjectKind::kNone ? Outcome::kOk : kernel.destroy_object(object);
    if (outcome != Outcome::kOk) {
      kernel.breach(routine, outcome, number);
    }
    number = object.next_in_block;
  }
  pool.free(block, kernel.scheduler().recorder().size());
}

Object* record_at(Kernel& kernel, const void* pointer) {
  const Pool& pool = kernel.pool();
  const std::uint32_t block = Pool::contains(pointer) ? pool.block_around(pointer) : 0;
  if (block == 0 || !pool.block(block).live) {
    return nullptr;
  }
  for (ObjectNumber number = pool.block(block).first_object; number != 0;) {
    Object& object = kernel.objects().at(number);
    if (object.address == pointer && object.kind != ObjectKind::kNone) {
      return &object;
    }
    number = object.next_in_block;
  }
  return nullptr;
}

bool was_given_back(Kernel& kernel, Routine routine, const void* pointer, Outcome outcome) {
  const Pool& pool = kernel.pool();
  const std::uint32_t number = Pool::contains(pointer) ? pool.block_at(pointer) : 0;
  if (number == 0 || pool.block(number).live || pool.block(number).module != 0) {
    return false;
  }
  kernel.breach(routine, outcome, pool.block(number).first_object);
  return true;
}

}  // namespace nmrfuzz::kernel
