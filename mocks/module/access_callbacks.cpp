// access_callbacks.cpp - what a module's loads, stores, copies and fills call: first before_access(), then, where the
// call stands for the access itself, the access.
//
// Modules are instrumented by clang's ThreadSanitizer pass, with functions of ours in place of its run-time library:
// the idea is the Linux kernel's, whose Concurrency Sanitizer (KCSAN, https://docs.kernel.org/dev-tools/kcsan.html)
// does the same. Decided by measurement against -fsanitize-coverage=trace-loads,trace-stores, 22 forms of access:
//   that sees plain, volatile and atomic loads and stores, 12 of the 22; the pass sees those and struct copies, fills
//   and copies of any size, atomic read-modify-write, and tells volatile and atomic from plain (access_forms_test.cpp).
// Not seen by the pass, which that test states too:
//   - sizes other than 1, 2, 4, 8, 16 bytes that are no copy: long double, vectors of 32 bytes and more;
//   - structures passed by value in memory: the copy for the callee is made behind the pass;
//   - atomic fetch-min, fetch-max and floating-point operations;
//   - variables on the stack whose address never leaves the function, constants, virtual function tables;
//   - inline assembly; what the C library reads in memcmp, strlen and their kin.
#include "module/access_callbacks.h"

#include <cstring>

#include "module/access_inline.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NMRFUZZ_CALLBACKS_ASAN 1
extern "C" {  // NOLINTBEGIN: the run-time library's, in none of its headers
void* __asan_memcpy(void* to, const void* from, std::size_t bytes);
void* __asan_memmove(void* to, const void* from, std::size_t bytes);
void* __asan_memset(void* to, int value, std::size_t bytes);
}  // NOLINTEND
#endif
#endif

extern "C" {
extern const char __start_nmrfuzz_callbacks[] __attribute__((visibility("hidden")));  // NOLINT: the linker's names
extern const char __stop_nmrfuzz_callbacks[] __attribute__((visibility("hidden")));   // NOLINT
}

namespace nmrfuzz::module {

using race::AccessKind;

bool in_access_callback(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  return at >= reinterpret_cast<std::uintptr_t>(__start_nmrfuzz_callbacks) &&
         at < reinterpret_cast<std::uintptr_t>(__stop_nmrfuzz_callbacks);
}

namespace {

[[gnu::always_inline]] NMRFUZZ_RAW inline void before_range(const void* pointer, std::size_t bytes, bool is_write) {
  if (bytes != 0) {
    before_access(pointer, bytes, AccessKind::kPlain, is_write);
  }
}

}  // namespace
}  // namespace nmrfuzz::module

using nmrfuzz::module::before_access;
using nmrfuzz::module::before_range;
using nmrfuzz::race::AccessKind;

#define NMRFUZZ_ACCESS(form, bytes, kind, is_write)                         \
  NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(form##bytes)(void* pointer) { \
    before_access(pointer, bytes, AccessKind::kind, is_write);              \
  }
#define NMRFUZZ_FORM(form, kind, is_write) \
  NMRFUZZ_ACCESS(form, 1, kind, is_write)  \
  NMRFUZZ_ACCESS(form, 2, kind, is_write)  \
  NMRFUZZ_ACCESS(form, 4, kind, is_write)  \
  NMRFUZZ_ACCESS(form, 8, kind, is_write)  \
  NMRFUZZ_ACCESS(form, 16, kind, is_write)
#include "module/access_callbacks.def"

NMRFUZZ_CALLBACK void* NMRFUZZ_CALLBACK_NAME(memcpy)(void* to, const void* from, std::size_t bytes) {
  before_range(from, bytes, false);
  before_range(to, bytes, true);
#if defined(NMRFUZZ_CALLBACKS_ASAN)
  return __asan_memcpy(to, from, bytes);
#else
  return std::memcpy(to, from, bytes);
#endif
}

NMRFUZZ_CALLBACK void* NMRFUZZ_CALLBACK_NAME(memmove)(void* to, const void* from, std::size_t bytes) {
  before_range(from, bytes, false);
  before_range(to, bytes, true);
#if defined(NMRFUZZ_CALLBACKS_ASAN)
  return __asan_memmove(to, from, bytes);
#else
  return std::memmove(to, from, bytes);
#endif
}

NMRFUZZ_CALLBACK void* NMRFUZZ_CALLBACK_NAME(memset)(void* to, int value, std::size_t bytes) {
  before_range(to, bytes, true);
#if defined(NMRFUZZ_CALLBACKS_ASAN)
  return __asan_memset(to, value, bytes);
#else
  return std::memset(to, value, bytes);
#endif
}

// The pointer to an object's table of virtual functions.
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(vptr_read)(void** pointer) {
  before_access(pointer, sizeof *pointer, AccessKind::kPlain, false);
}
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(vptr_update)(void** pointer, void*) {
  before_access(pointer, sizeof *pointer, AccessKind::kPlain, true);
}

NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(func_entry)(void*) {}
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(func_exit)() {}
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(ignore_thread_begin)() {}
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(ignore_thread_end)() {}
NMRFUZZ_CALLBACK void NMRFUZZ_CALLBACK_NAME(init)() {}

extern "C" {
// Modules announce their coverage counters at load. Where libFuzzer is linked its definitions win over these.
__attribute__((weak)) void __sanitizer_cov_8bit_counters_init(std::uint8_t*, std::uint8_t*) {}
__attribute__((weak)) void __sanitizer_cov_pcs_init(const std::uintptr_t*, const std::uintptr_t*) {}
}
