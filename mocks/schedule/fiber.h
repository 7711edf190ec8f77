// fiber.h - the stack and saved context of one simulated thread, with sanitizer annotations.
//
// Boost.Context's fcontext does the switch, except in the plain build on x86-64. There it would save the floating-point
// control words, which no simulated thread changes and which cost most of its time, and leave the processor's return
// predictor one off, so that every return after a switch is mispredicted; a switch in line does neither.
// Under AddressSanitizer each switch announces the new stack; under ThreadSanitizer each fiber is a thread of its own,
// and switches carry no happens-before edge, so that only the edges that the mocks announce hide a race.
// Stacks are mapped on first use, kept, and have a guard page below.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NMRFUZZ_FIBER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define NMRFUZZ_FIBER_TSAN 1
#define NMRFUZZ_FIBER_INSTRUMENTED 1
#endif
#endif
// The ThreadSanitizer variant of the mocks is not instrumented itself, only linked with the run-time library. A tree
// that is instrumented as a whole, for tests on real threads, has edges at switches: its scheduler's data go from fiber
// to fiber, and it finds no races between simulated threads.
#if defined(NMRFUZZ_TSAN)
#define NMRFUZZ_FIBER_TSAN 1
#endif

// Not where the compiler uses registers that the switch does not name.
#if defined(__x86_64__) && !defined(__AVX512F__) && !defined(NMRFUZZ_FIBER_ASAN) && !defined(NMRFUZZ_FIBER_TSAN)
#define NMRFUZZ_FIBER_IN_LINE 1
#else
#include <boost/context/detail/fcontext.hpp>
#endif
#if defined(NMRFUZZ_FIBER_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(NMRFUZZ_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace nmrfuzz::schedule {

class Fiber {
 public:
  // Runs on the new stack at the first switch to the fiber; must never return.
  using Entry = void (*)(void* argument);

  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes this the context of the caller's own OS thread, which other fibers switch back to.
  void adopt_current_thread();
  // (Re)starts: the next switch to the fiber calls entry(argument) on an empty stack. Whatever the stack held is
  // abandoned without unwinding.
  void start(Entry entry, void* argument);

  // Goes on in `to`; returns when somebody switches back to `from`. REQUIRES: `from` is what runs now.
  [[gnu::always_inline]] static inline void switch_between(Fiber& from, Fiber& to);

#if defined(NMRFUZZ_FIBER_TSAN)
  // Releases `address` in the name of this suspended fiber. REQUIRES: `running` is what runs now.
  void release_suspended(const Fiber& running, void* address) const;
#endif

  // The stack's usable part, for stack walks.
  const void* stack_low() const { return stack_; }
  std::size_t stack_size() const { return size_; }

 private:
#if defined(NMRFUZZ_FIBER_IN_LINE)
  // Where a suspended fiber goes on. The offsets of the fields are known to the switch.
  struct Saved {
    void* stack_pointer = nullptr;
    void* frame_pointer = nullptr;
    void (*resume_at)(Fiber* from, Fiber* to) = nullptr;
  };
  static_assert(sizeof(Saved) == 24);
  static void first_entry(Fiber* from, Fiber* self);

  Saved saved_;  // first, so that its address is the fiber's
#else
  static void first_entry(boost::context::detail::transfer_t from);

  boost::context::detail::fcontext_t context_ = nullptr;
  Fiber* target_ = nullptr;  // whom this fiber switched to last: how a fresh one learns which it is
#endif
  void prepare_context();
  void map_stack();

  void* stack_ = nullptr;
  std::size_t size_ = 0;
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  bool owns_stack_ = false;
#if defined(NMRFUZZ_FIBER_ASAN)
  void* fake_stack_ = nullptr;
  bool abandoned_frames_ = false;  // restarted over frames that were never left
#endif
#if defined(NMRFUZZ_FIBER_TSAN)
#if defined(NMRFUZZ_FIBER_INSTRUMENTED)
  static constexpr unsigned kTsanSwitchFlags = 0;
#else
  static constexpr unsigned kTsanSwitchFlags = __tsan_switch_to_fiber_no_sync;
#endif
  void* tsan_fiber_ = nullptr;
#endif
};

#if defined(NMRFUZZ_FIBER_IN_LINE)

inline void Fiber::switch_between(Fiber& from, Fiber& to) {
  // All other registers are named as overwritten, so the compiler itself saves those that it needs afterwards. The two
  // operands stay in place for the first entry of a fiber, which has them as its arguments.
  Fiber* from_operand = &from;
  Fiber* to_operand = &to;
  asm volatile(
      "movq %%rsp, 0(%0)\n\t"
      "movq %%rbp, 8(%0)\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rax, 16(%0)\n\t"
      "movq 0(%1), %%rsp\n\t"
      "movq 8(%1), %%rbp\n\t"
      "jmpq *16(%1)\n"
      "1:"
      : "+D"(from_operand), "+S"(to_operand)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2",
        "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
        "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory");
}

#else

inline void Fiber::switch_between(Fiber& from, Fiber& to) {
#if defined(NMRFUZZ_FIBER_ASAN)
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_, to.size_);
#endif
#if defined(NMRFUZZ_FIBER_TSAN)
  __tsan_switch_to_fiber(to.tsan_fiber_, kTsanSwitchFlags);
#endif
  from.target_ = &to;
  const auto back = boost::context::detail::jump_fcontext(to.context_, &from);
  static_cast<Fiber*>(back.data)->context_ = back.fctx;
#if defined(NMRFUZZ_FIBER_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

#endif

}  // namespace nmrfuzz::schedule
