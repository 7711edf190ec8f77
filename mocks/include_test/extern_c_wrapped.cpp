// extern_c_wrapped.cpp - C++ drivers wrap the WDK's headers in extern "C" and then use light C++ headers.
// flags: -Wall -Wextra -Werror
extern "C" {
#include <netioddk.h>
#include <ntddk.h>
#include <ntstrsafe.h>
}
#include <new>
#include <type_traits>
#include <utility>

static_assert(std::is_same_v<SIZE_T, size_t>);
static_assert(std::is_same_v<decltype(L'a'), WCHAR>);

class Lock {
 public:
  explicit Lock(KSPIN_LOCK& lock) : lock_(lock) { KeAcquireSpinLock(&lock_, &irql_); }
  ~Lock() { KeReleaseSpinLock(&lock_, irql_); }

 private:
  KSPIN_LOCK& lock_;
  KIRQL irql_;
};

void* operator new(size_t size, POOL_FLAGS flags, ULONG tag) noexcept { return ExAllocatePool2(flags, size, tag); }

long Counter;  // MSVC's long is LONG
extern "C" LONG Use(KSPIN_LOCK* spin) {
  Lock lock(*spin);
  ULONG* number = new (POOL_FLAG_NON_PAGED, 'tseT') ULONG(std::exchange(*spin, 0) != 0);
  return number == nullptr ? -1 : static_cast<LONG>(InterlockedIncrement(&Counter));
}
