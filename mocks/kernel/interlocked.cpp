// interlocked.cpp - interlocked operations, ordered reads and writes, barriers, and sequenced singly linked lists.
//
// Each is a scheduling point before it takes effect. Those that write are one behind it too: what was published may be
// used, and freed, by others before the writer gets any further. The memory is probed after the first point, when
// nobody can come in between.
// Events name no object, since the memory is no object of the kernel. Their status is the old value, except for
// values of pointer size that are no small number: those may be addresses.
// Sources: documentation pages "InterlockedIncrement", "InterlockedCompareExchange", "ReadAcquire", "WriteRelease",
// "KeMemoryBarrier", "YieldProcessor", "Singly and Doubly Linked Lists", "InterlockedPushEntrySList".
#include <ntddk.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {
namespace {

// What an event says of `value`.
template <class T>
std::int32_t shown(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return 0;
  } else {
    constexpr std::int64_t kLowest = std::numeric_limits<std::int32_t>::min();
    constexpr std::int64_t kHighest = std::numeric_limits<std::int32_t>::max();
    return value >= kLowest && value <= kHighest ? static_cast<std::int32_t>(value) : 0;
  }
}

// Tells who watches accesses, and returns what the event names the place by: 0 where nobody watches.
template <class T>
std::uint32_t place_of(Kernel& kernel, T const volatile* memory, InterlockedOrder order) {
  AccessObserver* const observer = kernel.access_observer();
  return observer == nullptr ? 0 : observer->on_interlocked(const_cast<const T*>(memory), sizeof *memory, order);
}

constexpr InterlockedOrder kModifies = {.reads = true, .writes = true, .acquires = true, .releases = true};

template <class T>
bool reach(Kernel& kernel, Routine routine, T const volatile* memory, Access access) {
  kernel.point(routine, 0, access);
  return kernel.probe(routine, static_cast<const void*>(const_cast<const T*>(memory)), sizeof *memory);
}

// Runs `operation`, which changes *target and returns what was there; returns that, 0 after a breach.
template <class T, class Operation>
T modify(T volatile* target, Operation operation) {
  constexpr Routine kRoutine = Routine::InterlockedOperation;
  Kernel& kernel = current_kernel();
  if (!reach(kernel, kRoutine, target, Access::kWrite)) {
    return T{};
  }
  const std::uint32_t place = place_of(kernel, target, kModifies);
  const T old = operation();
  kernel.called(kRoutine, 0, shown(old), 0, place);
  kernel.point(kRoutine);
  return old;
}

template <class T>
T exchange(T volatile* target, T value) {
  return modify(target, [&] { return __atomic_exchange_n(target, value, __ATOMIC_SEQ_CST); });
}

template <class T>
T compare_exchange(T volatile* target, T value, T comperand) {
  return modify(target, [&] {
    T found = comperand;
    __atomic_compare_exchange_n(target, &found, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return found;
  });
}

template <class T>
T exchange_add(T volatile* target, T value) {
  return modify(target, [&] { return __atomic_fetch_add(target, value, __ATOMIC_SEQ_CST); });
}

// Adds and returns the sum; sums wrap around.
template <class T>
T add(T volatile* target, T value) {
  using Unsigned = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<Unsigned>(exchange_add(target, value)) + static_cast<Unsigned>(value));
}

template <class T>
T exchange_and(T volatile* target, T value) {
  return modify(target, [&] { return __atomic_fetch_and(target, value, __ATOMIC_SEQ_CST); });
}

template <class T>
T exchange_or(T volatile* target, T value) {
  return modify(target, [&] { return __atomic_fetch_or(target, value, __ATOMIC_SEQ_CST); });
}

template <class T>
T exchange_xor(T volatile* target, T value) {
  return modify(target, [&] { return __atomic_fetch_xor(target, value, __ATOMIC_SEQ_CST); });
}

template <int order, class T>
T read(T const volatile* source) {
  Kernel& kernel = current_kernel();
  if (!reach(kernel, Routine::OrderedRead, source, Access::kRead)) {
    return T{};
  }
  const std::uint32_t place = place_of(kernel, source, {.reads = true, .acquires = order == __ATOMIC_ACQUIRE});
  const T value = __atomic_load_n(source, order);
  kernel.called(Routine::OrderedRead, 0, shown(value), 0, place);
  return value;
}

template <int order, class T>
void write(T volatile* destination, T value) {
  Kernel& kernel = current_kernel();
  if (reach(kernel, Routine::OrderedWrite, destination, Access::kWrite)) {
    const std::uint32_t place = place_of(kernel, destination, {.writes = true, .releases = order == __ATOMIC_RELEASE});
    __atomic_store_n(destination, value, order);
    kernel.called(Routine::OrderedWrite, 0, shown(value), 0, place);
    kernel.point(Routine::OrderedWrite);
  }
}

// A scheduling point, then whether the list's head is in memory that may be used for one.
bool reach_list(Kernel& kernel, Routine routine, PSLIST_HEADER head, Access access) {
  constexpr std::uintptr_t kAlignment = MEMORY_ALLOCATION_ALIGNMENT;
  kernel.point(routine, 0, access);
  if (!kernel.probe(routine, head, sizeof *head)) {
    return false;
  }
  if (reinterpret_cast<std::uintptr_t>(head) % kAlignment != 0) {
    kernel.breach(routine, Outcome::kBadArgumentValue);
    return false;
  }
  return true;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

// NOLINTBEGIN(bugprone-macro-parentheses): a type in a declaration cannot be in parentheses
#define NMRFUZZ_INTERLOCKED(suffix, type)                                                                          \
  type InterlockedExchange##suffix(type volatile* Target, type Value) { return exchange(Target, Value); }          \
  type InterlockedCompareExchange##suffix(type volatile* Destination, type ExChange, type Comperand) {             \
    return compare_exchange(Destination, ExChange, Comperand);                                                     \
  }                                                                                                                \
  type InterlockedExchangeAdd##suffix(type volatile* Addend, type Value) { return exchange_add(Addend, Value); }   \
  type InterlockedAnd##suffix(type volatile* Destination, type Value) { return exchange_and(Destination, Value); } \
  type InterlockedOr##suffix(type volatile* Destination, type Value) { return exchange_or(Destination, Value); }   \
  type InterlockedXor##suffix(type volatile* Destination, type Value) { return exchange_xor(Destination, Value); }
NMRFUZZ_INTERLOCKED(, LONG)
NMRFUZZ_INTERLOCKED(64, LONG64)
NMRFUZZ_INTERLOCKED(16, SHORT)
NMRFUZZ_INTERLOCKED(8, CHAR)
#undef NMRFUZZ_INTERLOCKED

LONG InterlockedIncrement(LONG volatile* Addend) { return add(Addend, 1); }
LONG InterlockedDecrement(LONG volatile* Addend) { return add(Addend, -1); }
LONG64 InterlockedIncrement64(LONG64 volatile* Addend) { return add(Addend, LONG64{1}); }
LONG64 InterlockedDecrement64(LONG64 volatile* Addend) { return add(Addend, LONG64{-1}); }
SHORT InterlockedIncrement16(SHORT volatile* Addend) { return add(Addend, SHORT{1}); }
SHORT InterlockedDecrement16(SHORT volatile* Addend) { return add(Addend, SHORT{-1}); }

PVOID InterlockedExchangePointer(PVOID volatile* Target, PVOID Value) { return exchange(Target, Value); }

PVOID InterlockedCompareExchangePointer(PVOID volatile* Destination, PVOID ExChange, PVOID Comperand) {
  return compare_exchange(Destination, ExChange, Comperand);
}

#define NMRFUZZ_ORDERED(read_infix, suffix, type)                                                                \
  type Read##read_infix##Acquire##suffix(type const volatile* Source) { return read<__ATOMIC_ACQUIRE>(Source); } \
  type Read##read_infix##NoFence##suffix(type const volatile* Source) { return read<__ATOMIC_RELAXED>(Source); } \
  void Write##read_infix##Release##suffix(type volatile* Destination, type Value) {                              \
    write<__ATOMIC_RELEASE>(Destination, Value);                                                                 \
  }                                                                                                              \
  void Write##read_infix##NoFence##suffix(type volatile* Destination, type Value) {                              \
    write<__ATOMIC_RELAXED>(Destination, Value);                                                                 \
  }
NMRFUZZ_ORDERED(, , LONG)
NMRFUZZ_ORDERED(, 64, LONG64)
NMRFUZZ_ORDERED(, 16, SHORT)
NMRFUZZ_ORDERED(, 8, CHAR)
NMRFUZZ_ORDERED(Pointer, , PVOID)
#undef NMRFUZZ_ORDERED
// NOLINTEND(bugprone-macro-parentheses)

void KeMemoryBarrier(void) {
  Kernel& kernel = current_kernel();
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  kernel.called(Routine::MemoryBarrier);
  kernel.point(Routine::MemoryBarrier, 0, Access::kNone);
}

void YieldProcessor(void) {
  Kernel& kernel = current_kernel();
  kernel.called(Routine::YieldProcessor);
  kernel.scheduler().yield({static_cast<nmrfuzz::trace::RoutineNumber>(Routine::YieldProcessor), Access::kNone, 0});
}

void InitializeSListHead(PSLIST_HEADER SListHead) {
  constexpr Routine kRoutine = Routine::InitializeSListHead;
  Kernel& kernel = current_kernel();
  if (reach_list(kernel, kRoutine, SListHead, Access::kWrite)) {
    *SListHead = {};
    kernel.called(kRoutine);
  }
}

PSLIST_ENTRY InterlockedPushEntrySList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry) {
  constexpr Routine kRoutine = Routine::InterlockedPushEntrySList;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!reach_list(kernel, kRoutine, ListHead, Access::kWrite) ||
      !kernel.probe(kRoutine, ListEntry, sizeof *ListEntry)) {
    return nullptr;
  }
  place_of(kernel, ListHead, kModifies);
  const PSLIST_ENTRY old = ListHead->State.First;
  ListEntry->Next = old;
  ListHead->State.First = ListEntry;
  const auto depth = static_cast<std::int32_t>(++ListHead->State.Depth);
  kernel.called(kRoutine, 0, depth);
  kernel.point(kRoutine);
  return old;
}

PSLIST_ENTRY InterlockedPopEntrySList(PSLIST_HEADER ListHead) {
  constexpr Routine kRoutine = Routine::InterlockedPopEntrySList;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!reach_list(kernel, kRoutine, ListHead, Access::kWrite)) {
    return nullptr;
  }
  place_of(kernel, ListHead, kModifies);
  const PSLIST_ENTRY first = ListHead->State.First;
  if (first == nullptr) {
    kernel.called(kRoutine);
    return nullptr;
  }
  if (!kernel.probe(kRoutine, first, sizeof *first)) {
    return nullptr;
  }
  ListHead->State.First = first->Next;
  const auto depth = static_cast<std::int32_t>(ListHead->State.Depth--);
  kernel.called(kRoutine, 0, depth);
  kernel.point(kRoutine);
  return first;
}

PSLIST_ENTRY InterlockedFlushSList(PSLIST_HEADER ListHead) {
  constexpr Routine kRoutine = Routine::InterlockedFlushSList;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!reach_list(kernel, kRoutine, ListHead, Access::kWrite)) {
    return nullptr;
  }
  place_of(kernel, ListHead, kModifies);
  const PSLIST_ENTRY first = ListHead->State.First;
  const auto depth = static_cast<std::int32_t>(ListHead->State.Depth);
  ListHead->State.First = nullptr;
  ListHead->State.Depth = 0;
  kernel.called(kRoutine, 0, depth);
  kernel.point(kRoutine);
  return first;
}

USHORT ExQueryDepthSList(PSLIST_HEADER SListHead) {
  constexpr Routine kRoutine = Routine::ExQueryDepthSList;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!reach_list(kernel, kRoutine, SListHead, Access::kRead)) {
    return 0;
  }
  const auto depth = static_cast<USHORT>(SListHead->State.Depth);
  kernel.called(kRoutine, 0, depth);
  return depth;
}

}  // extern "C"
