#include "schedule/fiber.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#if defined(NMRFUZZ_FIBER_ASAN)
#include <sanitizer/asan_interface.h>

extern "C" void __asan_handle_no_return();  // NOLINT: the run-time library's, in none of its headers
// Use-after-return detection maps a second stack for each life of a fiber: an abandoned one would cost 100 us.
// ASAN_OPTIONS still overrides this.
extern "C" const char* __asan_default_options() { return "detect_stack_use_after_return=0"; }  // NOLINT
#endif
#if defined(NMRFUZZ_FIBER_TSAN)
extern "C" void AnnotateIgnoreSyncBegin(const char* file, int line);  // NOLINT: likewise
extern "C" void AnnotateIgnoreSyncEnd(const char* file, int line);    // NOLINT
#endif

namespace nmrfuzz::schedule {

namespace {

// Kernel stacks are 12 to 24 KiB; sanitizer frames are several times larger.
#if defined(NMRFUZZ_FIBER_ASAN) || defined(NMRFUZZ_FIBER_TSAN)
constexpr std::size_t kStackBytes = 256 * 1024;
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif

}  // namespace

Fiber::~Fiber() {
#if defined(NMRFUZZ_FIBER_TSAN)
  if (owns_stack_ && tsan_fiber_ != nullptr) {
    __tsan_destroy_fiber(tsan_fiber_);
  }
#endif
  if (owns_stack_) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    munmap(static_cast<char*>(stack_) - page, size_ + page);
  }
}

void Fiber::adopt_current_thread() {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &stack_, &size_);
  pthread_attr_destroy(&attributes);
#if defined(NMRFUZZ_FIBER_TSAN)
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

void Fiber::start(Entry entry, void* argument) {
  [[maybe_unused]] const bool used_before = stack_ != nullptr;
  if (stack_ == nullptr) {
    map_stack();
  }
  entry_ = entry;
  argument_ = argument;
#if defined(NMRFUZZ_FIBER_ASAN)
  // The fake stack is kept: a new one costs more than all the rest of an execution, and the old one would leak.
  abandoned_frames_ = used_before;
  if (used_before) {
    // Red zones of abandoned frames: new frames write theirs, but count on all else being clean.
    __asan_unpoison_memory_region(stack_, size_);
  }
#endif
#if defined(NMRFUZZ_FIBER_TSAN)
  // Rebuilding a context on one TSan fiber leaks its shadow stack until it overflows.
  if (tsan_fiber_ != nullptr) {
    __tsan_destroy_fiber(tsan_fiber_);
  }
  // Without an edge from whoever happens to call: a reused fiber has none either.
  AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
  tsan_fiber_ = __tsan_create_fiber(0);
  AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
#endif
  prepare_context();
}

#if defined(NMRFUZZ_FIBER_TSAN)
void Fiber::release_suspended(const Fiber& running, void* address) const {
  __tsan_switch_to_fiber(tsan_fiber_, kTsanSwitchFlags);
  __tsan_release(address);
  __tsan_switch_to_fiber(running.tsan_fiber_, kTsanSwitchFlags);
}
#endif

#if defined(NMRFUZZ_FIBER_IN_LINE)

void Fiber::prepare_context() {
  // As after a call: the return address is at the stack pointer, which ends stack walks, and 8 off alignment.
  auto* const top = reinterpret_cast<void**>(static_cast<char*>(stack_) + size_) - 1;
  *top = nullptr;
  saved_ = {top, nullptr, &Fiber::first_entry};
}

void Fiber::first_entry(Fiber*, Fiber* self) {
  self->entry_(self->argument_);
  std::abort();  // entries switch away for good instead of returning
}

#else

void Fiber::prepare_context() {
  context_ = boost::context::detail::make_fcontext(static_cast<char*>(stack_) + size_, size_, &Fiber::first_entry);
}

void Fiber::first_entry(boost::context::detail::transfer_t transfer) {
  auto* const from = static_cast<Fiber*>(transfer.data);
  from->context_ = transfer.fctx;
  Fiber* const self = from->target_;
#if defined(NMRFUZZ_FIBER_ASAN)
  __sanitizer_finish_switch_fiber(self->fake_stack_, nullptr, nullptr);
  if (self->abandoned_frames_) {
    __asan_handle_no_return();  // lets the fake stack take back the frames that were abandoned
  }
#endif
  self->entry_(self->argument_);
  std::abort();  // entries switch away for good instead of returning
}

#endif

void Fiber::map_stack() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const memory =
      mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
    std::perror("nmrfuzz: cannot map the stack of a simulated thread");
    std::abort();
  }
  stack_ = static_cast<char*>(memory) + page;
  size_ = kStackBytes;
  owns_stack_ = true;
}

}  // namespace nmrfuzz::schedule
