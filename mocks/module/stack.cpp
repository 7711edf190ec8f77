#include "module/stack.h"

#include "kernel/kernel.h"
#include "module/raw_memory.h"

namespace nmrfuzz::module {

// Raw: saved frame pointers may lie beside red zones.
[[gnu::noinline]] NMRFUZZ_RAW std::size_t capture_stack(std::uintptr_t* frames, std::size_t capacity) {
  struct Frame {
    const Frame* caller;
    std::uintptr_t return_address;
  };
  if (kernel::kernel_in_force == nullptr) {
    return 0;
  }
  const schedule::Fiber& fiber = kernel::kernel_in_force->scheduler().current().fiber;
  auto low = reinterpret_cast<std::uintptr_t>(fiber.stack_low());
  const std::uintptr_t high = low + fiber.stack_size();
  const auto* frame = static_cast<const Frame*>(__builtin_frame_address(0));
  std::size_t count = 0;
  while (count < capacity) {
    const auto at = reinterpret_cast<std::uintptr_t>(frame);
    if (at < low || at % alignof(Frame) != 0 || high < sizeof(Frame) || at > high - sizeof(Frame)) {
      break;
    }
    if (frame->return_address == 0) {
      break;
    }
    frames[count++] = frame->return_address;
    low = at + sizeof(Frame);  // callers are further up
    frame = frame->caller;
  }
  return count;
}

}  // namespace nmrfuzz::module
