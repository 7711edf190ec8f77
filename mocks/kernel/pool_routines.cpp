// pool_routines.cpp - ExAllocatePool2, ExFreePool and their kin.
//
// Sources: documentation pages "ExAllocatePool2", "POOL_FLAGS", "ExAllocatePoolWithTag", "ExAllocatePoolZero",
// "ExAllocatePoolUninitialized", "ExFreePool", "ExFreePoolWithTag".
// A block of zero bytes is a block that may not be touched. ExAllocatePool2 asks for a size above zero; the older
// routines only advise against zero.
#include "kernel/pool_routines.h"

#include <ntddk.h>

#include <bit>

#include "kernel/status.h"

namespace nmrfuzz::kernel {

using trace::EventKind;

namespace {

// Nobody in this kernel handles exceptions: one that a routine raises ends the machine.
void raise_failure(Kernel& kernel, Routine routine) {
  const auto status = static_cast<std::uint32_t>(kStatusInsufficientResources);
  kernel.write(EventKind::kBugCheck, routine, 0, kStatusInsufficientResources, KMODE_EXCEPTION_NOT_HANDLED,
               kernel.number_of_value(UlongToPtr(status)));
}

void check_paged(Kernel& kernel, Routine routine, PoolType type, std::uint32_t block) {
  if (type == PoolType::kPaged && kernel.irql() > kApcLevel) {
    kernel.breach(routine, Outcome::kIrqlTooHigh, block);
  }
}

// A work item, thread object and the like (kernel_memory.h): given back by a routine of its own, never by ExFreePool.
bool is_the_kernels(const Block& block) { return block.module == 0 && block.tag == 0; }

void destroy_objects_in(Kernel& kernel, Routine routine, std::uint32_t block) {
  for (ObjectNumber number = kernel.pool().block(block).first_object; number != 0;) {
    Object& object = kernel.objects().at(number);
    if (object.kind != ObjectKind::kNone) {
      const Outcome outcome = kernel.destroy_object(object);
      if (outcome != Outcome::kOk) {
        kernel.breach(routine, outcome, number);
      }
    }
    number = object.next_in_block;
  }
}

// For the routines that take a POOL_TYPE, which has flags in it.
void* allocate_typed(Routine routine, POOL_TYPE type, std::size_t bytes, std::uint32_t tag, bool zero) {
  constexpr unsigned kPagedBit = PagedPool;
  Kernel& kernel = current_kernel();
  if (tag == 0) {
    kernel.breach(routine, Outcome::kBadArgumentValue, 0, tag);
  }
  PoolRequest request;
  request.type = (type & kPagedBit) != 0 ? PoolType::kPaged : PoolType::kNonPaged;
  request.bytes = bytes;
  request.tag = tag;
  request.zero = zero || (type & POOL_ZERO_ALLOCATION) != 0;
  request.raises = (type & POOL_RAISE_IF_ALLOCATION_FAILURE) != 0;
  return allocate_block(kernel, routine, request);
}

}  // namespace

void* allocate_block(Kernel& kernel, Routine routine, const PoolRequest& request) {
  kernel.check_irql(routine);
  check_paged(kernel, routine, request.type, 0);
  kernel.point(routine, 0, Access::kNone);
  // Where a failure raises, catching it is lawful, and exceptions do not exist here: such a call does not fail.
  const bool injected = !request.raises && kernel.fails(routine);
  const std::uint32_t block =
      injected ? 0
               : kernel.pool().allocate(request.bytes, request.tag, request.type, request.zero,
                                        kernel.thread_state().module, kernel.scheduler().recorder().size());
  const bool failed = block == 0;
  kernel.write(EventKind::kAllocate, routine, block, failed ? kStatusInsufficientResources : kStatusSuccess,
               request.bytes, request.tag, injected ? Outcome::kInjected : Outcome::kOk);
  if (failed && request.raises) {
    raise_failure(kernel, routine);
  }
  return failed ? nullptr : kernel.pool().address(block);
}

void free_block(Kernel& kernel, Routine routine, void* memory, std::uint32_t tag) {
  kernel.check_irql(routine);
  kernel.point(routine);
  Pool& pool = kernel.pool();
  const std::uint32_t block = pool.block_at(memory);
  if (block == 0 || is_the_kernels(pool.block(block))) {
    kernel.breach(routine, memory == nullptr ? Outcome::kNullArgument : Outcome::kBadFree, pool.block_around(memory));
    return;
  }
  if (!pool.block(block).live) {
    kernel.breach(routine, Outcome::kDoubleFree, block);
    return;
  }
  check_paged(kernel, routine, pool.block(block).type, block);
  const std::uint32_t allocated_with = pool.block(block).tag;
  if (tag != 0 && tag != allocated_with) {
    kernel.breach(routine, Outcome::kWrongTag, block, tag, allocated_with);
  }
  if (!pool.intact(block)) {
    kernel.breach(routine, Outcome::kOverflow, block);
  }
  destroy_objects_in(kernel, routine, block);
  if (AccessObserver* const observer = kernel.access_observer(); observer != nullptr) {
    observer->on_free(pool.address(block), pool.block(block).size);
  }
  pool.free(block, kernel.scheduler().recorder().size());
  kernel.write(EventKind::kFree, routine, block, 0, 0, allocated_with);
}

}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

PVOID ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag) {
  constexpr Routine kRoutine = Routine::ExAllocatePool2;
  constexpr POOL_FLAGS kTypes = POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED;
  Kernel& kernel = current_kernel();
  if (Tag == 0 || std::popcount(Flags & kTypes) != 1) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, 0, Flags, Tag);
    return nullptr;
  }
  if (NumberOfBytes == 0) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, 0, Flags, Tag);
  }
  PoolRequest request;
  request.type = (Flags & POOL_FLAG_PAGED) != 0 ? PoolType::kPaged : PoolType::kNonPaged;
  request.bytes = NumberOfBytes;
  request.tag = Tag;
  request.zero = (Flags & POOL_FLAG_UNINITIALIZED) == 0;
  request.raises = (Flags & POOL_FLAG_RAISE_ON_FAILURE) != 0;
  return allocate_block(kernel, kRoutine, request);
}

PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
  return allocate_typed(Routine::ExAllocatePoolWithTag, PoolType, NumberOfBytes, Tag, false);
}

PVOID ExAllocatePoolZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
  return allocate_typed(Routine::ExAllocatePoolZero, PoolType, NumberOfBytes, Tag, true);
}

PVOID ExAllocatePoolUninitialized(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
  return allocate_typed(Routine::ExAllocatePoolUninitialized, PoolType, NumberOfBytes, Tag, false);
}

void ExFreePool(PVOID P) { free_block(current_kernel(), Routine::ExFreePool, P, 0); }

void ExFreePoolWithTag(PVOID P, ULONG Tag) { free_block(current_kernel(), Routine::ExFreePoolWithTag, P, Tag); }

}  // extern "C"
