// lookaside.cpp - lookaside lists of all three kinds, straight through the pool: an entry that was freed never comes
// back.
//
// A list that cached its entries would hide their uses after free; that it may call the allocate and free routines at
// any time is documented. The three structures start alike.
// Record: routine, context = the driver's own allocate and free routines, count = entries outstanding.
// Deleting a list with entries outstanding is no breach; they stay allocated and can only leak.
// Sources: documentation pages "Using Lookaside Lists", "ExInitializeLookasideListEx",
// "ExInitializeNPagedLookasideList", "ExInitializePagedLookasideList".
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/pool_routines.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

// Object::flags: the driver's routines take the list as their last parameter.
constexpr std::uint8_t kTakesList = 1;
constexpr unsigned kPagedBit = PagedPool;

bool is_lookaside_list(ObjectKind kind) { return kind == ObjectKind::kLookasideList; }

// `type`: with the flags that a driver's own allocate routine is given.
void initialize(Kernel& kernel, Routine routine, PLOOKASIDE_LIST_EX list, POOL_TYPE type, SIZE_T size, ULONG tag,
                void* allocate, void* free, std::uint8_t flags) {
  Object& object = kernel.add_object(ObjectKind::kLookasideList, list);
  object.routine = allocate;
  object.context = free;
  object.flags = flags;
  *list = {};
  list->Type = type;
  list->Tag = tag;
  list->Size = static_cast<ULONG>(size);
  list->ObjectNumber = kernel.number_of(object);
  kernel.called(routine, kernel.number_of(object), kStatusSuccess, size, tag);
}

// The record behind a list; nullptr after a breach.
Object* record_of(Kernel& kernel, Routine routine, PLOOKASIDE_LIST_EX list) {
  kernel.check_irql(routine);
  if (!kernel.probe(routine, list, sizeof *list)) {
    return nullptr;
  }
  Object* const object = kernel.find(routine, list->ObjectNumber, list, is_lookaside_list);
  if (object != nullptr && (list->Type & kPagedBit) != 0 && kernel.irql() > kApcLevel) {
    kernel.breach(routine, Outcome::kIrqlTooHigh, kernel.number_of(*object));
  }
  return object;
}

// A scheduling point, for lists with routines of their own. Whether the list is still there behind it.
bool reach(Kernel& kernel, Routine routine, const Object& object) {
  const ObjectNumber number = kernel.number_of(object);
  kernel.point(routine, number);
  if (object.kind == ObjectKind::kNone) {
    kernel.breach(routine, Outcome::kFreedObject, number);
    return false;
  }
  return true;
}

void* call_allocate(const Object& object, PLOOKASIDE_LIST_EX list) {
  if ((object.flags & kTakesList) != 0) {
    return reinterpret_cast<PALLOCATE_FUNCTION_EX>(object.routine)(list->Type, list->Size, list->Tag, list);
  }
  return reinterpret_cast<PALLOCATE_FUNCTION>(object.routine)(list->Type, list->Size, list->Tag);
}

void call_free(const Object& object, PLOOKASIDE_LIST_EX list, PVOID entry) {
  if ((object.flags & kTakesList) != 0) {
    reinterpret_cast<PFREE_FUNCTION_EX>(object.context)(entry, list);
  } else {
    reinterpret_cast<PFREE_FUNCTION>(object.context)(entry);
  }
}

PVOID allocate_entry(Routine routine, PLOOKASIDE_LIST_EX list) {
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, routine, list);
  if (object == nullptr) {
    return nullptr;
  }
  PVOID entry = nullptr;
  if (object->routine == nullptr) {
    PoolRequest request;
    request.type = (list->Type & kPagedBit) != 0 ? PoolType::kPaged : PoolType::kNonPaged;
    request.bytes = list->Size;
    request.tag = list->Tag;
    request.raises = (list->Type & POOL_RAISE_IF_ALLOCATION_FAILURE) != 0;
    entry = allocate_block(kernel, routine, request);
  } else if (reach(kernel, routine, *object)) {
    entry = kernel.call_into(object->module, routine, [&] { return call_allocate(*object, list); });
    kernel.called(routine, kernel.number_of(*object), entry != nullptr ? 1 : 0);
  }
  if (entry != nullptr) {
    ++object->count;
  }
  return entry;
}

void free_entry(Routine routine, PLOOKASIDE_LIST_EX list, PVOID entry) {
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, routine, list);
  if (object == nullptr) {
    return;
  }
  if (object->count > 0) {
    --object->count;
  }
  if (object->context == nullptr) {
    // The driver's own allocate routine may use any tag.
    free_block(kernel, routine, entry, object->routine == nullptr ? list->Tag : 0);
  } else if (reach(kernel, routine, *object)) {
    kernel.called(routine, kernel.number_of(*object));
    kernel.call_into(object->module, routine, [&] { call_free(*object, list, entry); });
  }
}

void delete_list(Routine routine, PLOOKASIDE_LIST_EX list) {
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, routine, list);
  if (object != nullptr) {
    object->kind = ObjectKind::kNone;
    kernel.called(routine, kernel.number_of(*object), object->count);
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

NTSTATUS ExInitializeLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PALLOCATE_FUNCTION_EX Allocate,
                                     PFREE_FUNCTION_EX Free, POOL_TYPE PoolType, ULONG Flags, SIZE_T Size, ULONG Tag,
                                     USHORT) {
  constexpr Routine kRoutine = Routine::ExInitializeLookasideListEx;
  constexpr ULONG kFlags = EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL | EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE;
  constexpr unsigned kBaseType = 7;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!kernel.probe(kRoutine, Lookaside, sizeof *Lookaside)) {
    return kStatusInvalidParameter;
  }
  const unsigned base = PoolType & kBaseType;
  if (base == DontUseThisType || base == MaxPoolType) {
    kernel.called(kRoutine, 0, STATUS_INVALID_PARAMETER_4);
    return STATUS_INVALID_PARAMETER_4;
  }
  if (Flags >= kFlags) {
    kernel.called(kRoutine, 0, STATUS_INVALID_PARAMETER_5);
    return STATUS_INVALID_PARAMETER_5;
  }
  unsigned type = PoolType;
  if (Flags == EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL) {
    type |= POOL_RAISE_IF_ALLOCATION_FAILURE;
  } else if (Flags == EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE) {
    type |= POOL_QUOTA_FAIL_INSTEAD_OF_RAISE;
  }
  initialize(kernel, kRoutine, Lookaside, static_cast<POOL_TYPE>(type), Size, Tag, reinterpret_cast<void*>(Allocate),
             reinterpret_cast<void*>(Free), kTakesList);
  return kStatusSuccess;
}

void ExDeleteLookasideListEx(PLOOKASIDE_LIST_EX Lookaside) { delete_list(Routine::ExDeleteLookasideListEx, Lookaside); }

void ExFlushLookasideListEx(PLOOKASIDE_LIST_EX Lookaside) {
  constexpr Routine kRoutine = Routine::ExFlushLookasideListEx;
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, kRoutine, Lookaside);
  if (object != nullptr) {
    kernel.called(kRoutine, kernel.number_of(*object));
  }
}

PVOID ExAllocateFromLookasideListEx(PLOOKASIDE_LIST_EX Lookaside) {
  return allocate_entry(Routine::ExAllocateFromLookasideListEx, Lookaside);
}

void ExFreeToLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PVOID Entry) {
  free_entry(Routine::ExFreeToLookasideListEx, Lookaside, Entry);
}

void ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate, PFREE_FUNCTION Free,
                                     ULONG Flags, SIZE_T Size, ULONG Tag, USHORT) {
  constexpr Routine kRoutine = Routine::ExInitializeNPagedLookasideList;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (kernel.probe(kRoutine, Lookaside, sizeof *Lookaside)) {
    initialize(kernel, kRoutine, &Lookaside->L, static_cast<POOL_TYPE>(NonPagedPool | Flags), Size, Tag,
               reinterpret_cast<void*>(Allocate), reinterpret_cast<void*>(Free), 0);
  }
}

void ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside) {
  delete_list(Routine::ExDeleteNPagedLookasideList, reinterpret_cast<PLOOKASIDE_LIST_EX>(Lookaside));
}

PVOID ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside) {
  return allocate_entry(Routine::ExAllocateFromNPagedLookasideList, reinterpret_cast<PLOOKASIDE_LIST_EX>(Lookaside));
}

void ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry) {
  free_entry(Routine::ExFreeToNPagedLookasideList, reinterpret_cast<PLOOKASIDE_LIST_EX>(Lookaside), Entry);
}

void ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate, PFREE_FUNCTION Free,
                                    ULONG Flags, SIZE_T Size, ULONG Tag, USHORT) {
  constexpr Routine kRoutine = Routine::ExInitializePagedLookasideList;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (kernel.probe(kRoutine, Lookaside, sizeof *Lookaside)) {
    initialize(kernel, kRoutine, &Lookaside->L, static_cast<POOL_TYPE>(PagedPool | Flags), Size, Tag,
               reinterpret_cast<void*>(Allocate), reinterpret_cast<void*>(Free), 0);
  }
}

void ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside) {
  delete_list(Routine::ExDeletePagedLookasideList, reinterpret_cast<PLOOKASIDE_LIST_EX>(Lookaside));
}

PVOID ExAllocateFromPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside) {
  return allocate_entry(Routine::ExAllocateFromPagedLookasideList, reinterpret_cast<PLOOKASIDE_LIST_EX>(Lookaside));
}

void ExFreeToPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry) {
  free_entry(Routine::ExFreeToPagedLookasideList, reinterpret_cast<PLOOKASIDE_LIST_EX>(Lookaside), Entry);
}

}  // extern "C"
