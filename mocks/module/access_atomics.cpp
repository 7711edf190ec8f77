// access_atomics.cpp - what is called in place of a module's atomic operations: before_access(), then the operation.
//
// All are sequentially consistent, whatever order the module asked for: simulated threads share one processor, so an
// order that is too weak shows as a missing happens-before edge and never as a value.
#include "module/access_callbacks.h"
#include "module/access_inline.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NMRFUZZ_ATOMIC_CALLBACK extern "C" NMRFUZZ_ON_BEHALF
#endif
#endif
#if !defined(NMRFUZZ_ATOMIC_CALLBACK)
#define NMRFUZZ_ATOMIC_CALLBACK NMRFUZZ_CALLBACK
#endif

namespace nmrfuzz::module {
namespace {

template <class T>
[[gnu::always_inline]] NMRFUZZ_RAW inline void before_atomic(const volatile T* pointer, bool is_write) {
  before_access(const_cast<const T*>(pointer), sizeof *pointer, race::AccessKind::kInterlocked, is_write);
}

using Wide = unsigned __int128;

template <class T>
[[gnu::always_inline]] inline T compare_exchange(volatile T* pointer, T expected, T value) {
  return __sync_val_compare_and_swap(pointer, expected, value);
}

#if defined(__x86_64__)
// The instruction that modules with 128-bit atomics are compiled for. There is no other one of that size.
__attribute__((target("cx16"), noinline)) NMRFUZZ_ON_BEHALF Wide compare_exchange(volatile Wide* pointer, Wide expected,
                                                                                  Wide value) {
  return __sync_val_compare_and_swap(pointer, expected, value);
}
#endif

template <class T>
[[gnu::always_inline]] inline T load(const volatile T* pointer) {
  if constexpr (sizeof(T) == sizeof(Wide)) {
    return compare_exchange(const_cast<volatile T*>(pointer), T{0}, T{0});
  } else {
    return __atomic_load_n(pointer, __ATOMIC_SEQ_CST);
  }
}

// Replaces what is at `pointer` by change(it) and returns what was there.
template <class T, class Change>
[[gnu::always_inline]] inline T modify(volatile T* pointer, Change change) {
  T old = compare_exchange(pointer, T{0}, T{0});  // not a load: memory that cannot be written is told as such
  while (true) {
    const T seen = compare_exchange(pointer, old, static_cast<T>(change(old)));
    if (seen == old) {
      return old;
    }
    old = seen;
  }
}

}  // namespace
}  // namespace nmrfuzz::module

using namespace nmrfuzz::module;  // NOLINT(google-build-using-namespace): the callbacks have names of their own

// `order` and `order_if_not` are the C11 memory orders that the module asked for.
// NOLINTBEGIN(bugprone-macro-parentheses): a type in a declaration cannot be in parentheses
#define NMRFUZZ_ATOMIC(bits, type)                                                                                     \
  NMRFUZZ_ATOMIC_CALLBACK type NMRFUZZ_CALLBACK_NAME(atomic##bits##_load)(const volatile type* pointer, int) {         \
    before_atomic(pointer, false);                                                                                     \
    return load(pointer);                                                                                              \
  }                                                                                                                    \
  NMRFUZZ_ATOMIC_CALLBACK void NMRFUZZ_CALLBACK_NAME(atomic##bits##_store)(volatile type * pointer, type value, int) { \
    before_atomic(pointer, true);                                                                                      \
    modify(pointer, [value](type) { return value; });                                                                  \
  }                                                                                                                    \
  NMRFUZZ_ATOMIC_CALLBACK type NMRFUZZ_CALLBACK_NAME(atomic##bits##_exchange)(volatile type * pointer, type value,     \
                                                                              int) {                                   \
    before_atomic(pointer, true);                                                                                      \
    return modify(pointer, [value](type) { return value; });                                                           \
  }                                                                                                                    \
  NMRFUZZ_ATOMIC_CALLBACK type NMRFUZZ_CALLBACK_NAME(atomic##bits##_compare_exchange_val)(                             \
      volatile type * pointer, type expected, type value, int, int) {                                                  \
    before_atomic(pointer, true);                                                                                      \
    return compare_exchange(pointer, expected, value);                                                                 \
  }
NMRFUZZ_ATOMIC(8, std::uint8_t)
NMRFUZZ_ATOMIC(16, std::uint16_t)
NMRFUZZ_ATOMIC(32, std::uint32_t)
NMRFUZZ_ATOMIC(64, std::uint64_t)
#if defined(__x86_64__)
NMRFUZZ_ATOMIC(128, Wide)
#define NMRFUZZ_FETCH_WIDE(operation, expression) NMRFUZZ_FETCH_BITS(128, Wide, operation, expression)
#else
#define NMRFUZZ_FETCH_WIDE(operation, expression)
#endif

#define NMRFUZZ_FETCH_BITS(bits, type, operation, expression)                                                   \
  NMRFUZZ_ATOMIC_CALLBACK type NMRFUZZ_CALLBACK_NAME(atomic##bits##_fetch_##operation)(volatile type * pointer, \
                                                                                       type value, int) {       \
    before_atomic(pointer, true);                                                                               \
    return modify(pointer, [value](type old) { return expression; });                                           \
  }
#define NMRFUZZ_FETCH(operation, expression)                   \
  NMRFUZZ_FETCH_BITS(8, std::uint8_t, operation, expression)   \
  NMRFUZZ_FETCH_BITS(16, std::uint16_t, operation, expression) \
  NMRFUZZ_FETCH_BITS(32, std::uint32_t, operation, expression) \
  NMRFUZZ_FETCH_BITS(64, std::uint64_t, operation, expression) \
  NMRFUZZ_FETCH_WIDE(operation, expression)
#include "module/access_callbacks.def"

// A fence changes nothing that simulated threads could see.
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(atomic_thread_fence)(int) {}
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(atomic_signal_fence)(int) {}
// NOLINTEND(bugprone-macro-parentheses)
