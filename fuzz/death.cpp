#include "fuzz/death.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "kernel/kernel.h"
#include "module/access_callbacks.h"

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif

extern "C" const char __executable_start;
extern "C" const char etext;

namespace nmrfuzz::fuzz {

namespace {

using contract::FindingKind;

constexpr std::uintptr_t kNullPage = 64 << 10;
constexpr std::size_t kFramesMaximum = 128;
static_assert(kStuckSignal == SIGUSR1);

struct Watch {
  Death* death = nullptr;
  std::span<const std::unique_ptr<module::Image>> images;
};
Watch watch;
alignas(16) std::array<char, 64 << 10> signal_stack;

enum class Owner : std::uint8_t { kNobody, kModule, kOurs };

// Where the processor was.
struct Registers {
  std::uintptr_t pc = 0;
  std::uintptr_t sp = 0;
  std::uintptr_t fp = 0;
};

// Reads memory that may not be there.
bool peek(std::uintptr_t at, std::uintptr_t& value) {
  const struct iovec local = {&value, sizeof value};
  const struct iovec remote = {reinterpret_cast<void*>(at), sizeof value};
  return syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0) == static_cast<long>(sizeof value);
}

std::optional<CodePlace> place_of(std::uintptr_t address) {
  for (std::size_t i = 0; i < watch.images.size(); ++i) {
    if (watch.images[i]->contains_code(address)) {
      return CodePlace{static_cast<std::uint32_t>(i), address - watch.images[i]->load_address()};
    }
  }
  return std::nullopt;
}

bool in_program(std::uintptr_t address) {
  return address >= reinterpret_cast<std::uintptr_t>(&__executable_start) &&
         address < reinterpret_cast<std::uintptr_t>(&etext);
}

#if __has_feature(address_sanitizer)
// The sanitizer's routines are linked into this program: what a module calls memset is one of them. They and our own
// local functions are told by having no exported name of ours; a module can only call what has one.
bool is_known_as_ours(std::uintptr_t address) {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(address), &info) == 0 || info.dli_sname == nullptr) {
    return false;
  }
  const std::string_view name = info.dli_sname;
  return name.find("asan_") == std::string_view::npos && name.find("interceptor_") == std::string_view::npos &&
         name.find("__sanitizer") == std::string_view::npos;
}
#else
bool is_known_as_ours(std::uintptr_t) { return true; }
#endif

Owner owner_of(std::uintptr_t address) {
  if (place_of(address)) {
    return Owner::kModule;
  }
  // An access callback touches memory for the module that called it.
  const bool is_ours = in_program(address) && is_known_as_ours(address) &&
                       !module::in_access_callback(reinterpret_cast<const void*>(address));
  return is_ours ? Owner::kOurs : Owner::kNobody;
}

// Walks the stack; returns who owns the innermost code that is somebody's, and keeps the module's places.
class Walk {
 public:
  explicit Walk(const Registers& registers) {
    visit(registers.pc + 1);  // as if it were a return address
    std::uintptr_t value = 0;
    // A leaf without a frame of its own (a library's routine, or a jump astray) was called from here.
    if (!in_program(registers.pc) && !place_of(registers.pc) && peek(registers.sp, value)) {
      visit(value);
    }
    // An access callback of ours that has not made its frame yet: the module that called it is not in the chain below.
    constexpr std::uintptr_t kWordsBeforeFrame = 3;
    for (std::uintptr_t i = 0; in_program(registers.pc) && i < kWordsBeforeFrame; ++i) {
      if (peek(registers.sp + i * sizeof value, value) && place_of(value - 1)) {
        visit(value);
        break;
      }
    }
    std::uintptr_t frame = registers.fp;
    for (std::size_t i = 0; i < kFramesMaximum && frame % sizeof frame == 0; ++i) {
      std::uintptr_t caller = 0;
      if (!peek(frame, caller) || !peek(frame + sizeof frame, value)) {
        break;
      }
      visit(value);
      if (caller <= frame) {
        break;
      }
      frame = caller;
    }
  }

  Owner innermost() const { return innermost_; }
  bool in_module() const { return watch.death->place_count != 0; }

 private:
  void visit(std::uintptr_t return_address) {
    const Owner owner = owner_of(return_address - 1);
    if (innermost_ == Owner::kNobody) {
      innermost_ = owner;
    }
    Death& death = *watch.death;
    if (const auto place = place_of(return_address - 1); place && death.place_count < death.places.size()) {
      death.places[death.place_count++] = {place->image, place->offset + 1};
    }
    if (in_program(return_address - 1) && death.own_count < death.own.size()) {
      death.own[death.own_count++] = return_address - 1 - reinterpret_cast<std::uintptr_t>(&__executable_start);
    }
  }

  Owner innermost_ = Owner::kNobody;
};

bool probing() { return kernel::kernel_in_force != nullptr && kernel::kernel_in_force->probing(); }

void say(std::string_view what) {
  auto& text = watch.death->what;
  const std::size_t size = std::min(what.size(), text.size() - 1);
  std::memcpy(text.data(), what.data(), size);
  text[size] = '\0';
}

[[noreturn]] void die() {
  watch.death->recorded.store(true, std::memory_order_release);
  _exit(kDeathStatus);
}

void record_fault(const siginfo_t& info, const Registers& registers, const Walk& walk) {
  Death& death = *watch.death;
  const auto address = reinterpret_cast<std::uintptr_t>(info.si_addr);
  // The processor does not say where an access outside the canonical range went.
  const bool known = info.si_code > 0 && info.si_code != SI_KERNEL;
  death.address = known ? address : 0;
  death.near_null = known && address < kNullPage;
  const bool astray = known && address == registers.pc;
  const std::uintptr_t below = registers.sp > address ? registers.sp - address : address - registers.sp;
  const bool overflow = known && !death.near_null && below < kNullPage && walk.in_module();
  if (overflow) {
    say("stack overflow");
    death.kind = FindingKind::kWildAccess;
  } else if (astray || probing() || walk.innermost() == Owner::kModule) {
    say(astray ? "call" : "access");
    death.kind = death.near_null ? FindingKind::kNullDereference : FindingKind::kWildAccess;
  }
}

void on_signal(int number, siginfo_t* info, void* context) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
  const auto get = [&machine](int index) { return static_cast<std::uintptr_t>(machine.gregs[index]); };
  const Registers registers = {get(REG_RIP), get(REG_RSP), get(REG_RBP)};
  Death& death = *watch.death;
  death.kind = FindingKind::kHarnessFault;
  death.signal = number;
  death.place_count = 0;
  death.own_count = 0;
  say(number == kStuckSignal ? "no progress" : "signal");
  const Walk walk(registers);
  switch (number) {
    case SIGSEGV:
    case SIGBUS:
      death.write = (get(REG_ERR) & 2) != 0;
      record_fault(*info, registers, walk);
      break;
    case kStuckSignal:
      death.kind = walk.in_module() ? FindingKind::kLivelock : FindingKind::kHarnessFault;
      break;
    case SIGFPE:
    case SIGILL:
      if (walk.innermost() == Owner::kModule) {
        say(number == SIGFPE ? "division" : "trap");
        death.kind = FindingKind::kUndefinedBehavior;
      }
      break;
    default:  // SIGTRAP, SIGABRT
      if (walk.innermost() == Owner::kModule) {
        say(number == SIGTRAP ? "breakpoint" : "abort");
        death.kind = FindingKind::kBugCheck;
      }
      break;
  }
  die();
}

}  // namespace

void watch_for_death(Death& death, std::span<const std::unique_ptr<module::Image>> images) {
  watch = {&death, images};
  const stack_t stack = {signal_stack.data(), 0, signal_stack.size()};
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, kStuckSignal}) {
    sigaction(number, &action, nullptr);
  }
}

#if __has_feature(address_sanitizer)

namespace {

// AddressSanitizer's word for our pool and for dead modules: which of them it was, our own ledgers know.
FindingKind kind_of_poisoned(const void* address, std::size_t bytes) {
  const auto* const kernel = kernel::kernel_in_force;
  if (kernel == nullptr || !kernel::Pool::contains(address)) {
    return FindingKind::kUseAfterFree;
  }
  return kernel::kernel_in_force->pool().check(address, bytes) == trace::Outcome::kFreedAccess
             ? FindingKind::kUseAfterFree
             : FindingKind::kBufferOverflow;
}

FindingKind kind_of_report(std::string_view description, const void* address, std::size_t bytes) {
  struct Row {
    std::string_view part;
    FindingKind kind;
  };
  constexpr auto kRows = std::to_array<Row>({{"use-after-free", FindingKind::kUseAfterFree},
                                             {"use-after-return", FindingKind::kUseAfterFree},
                                             {"use-after-scope", FindingKind::kUseAfterFree},
                                             {"double-free", FindingKind::kDoubleFree},
                                             {"overflow", FindingKind::kBufferOverflow},
                                             {"underflow", FindingKind::kBufferOverflow},
                                             {"negative-size", FindingKind::kBufferOverflow},
                                             {"overlap", FindingKind::kUndefinedBehavior}});
  if (description == "use-after-poison") {
    return kind_of_poisoned(address, bytes);
  }
  for (const Row& row : kRows) {
    if (description.find(row.part) != std::string_view::npos) {
      return row.kind;
    }
  }
  return FindingKind::kWildAccess;
}

}  // namespace

// Called by AddressSanitizer before it prints its report, which is wanted only if the fault is our own.
extern "C" void __asan_on_error() {
  if (watch.death == nullptr) {
    return;
  }
  const auto of = [](void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
  const Registers registers = {of(__asan_get_report_pc()), of(__asan_get_report_sp()), of(__asan_get_report_bp())};
  const std::string_view description = __asan_get_report_description();
  void* const address = __asan_get_report_address();
  Death& death = *watch.death;
  death.place_count = 0;
  death.own_count = 0;
  say(description);
  death.write = __asan_get_report_access_type() != 0;
  death.bytes = static_cast<std::uint32_t>(__asan_get_report_access_size());
  death.address = of(address);
  const Walk walk(registers);
  if (probing() || walk.innermost() == Owner::kModule) {
    death.kind = kind_of_report(description, address, std::max<std::size_t>(death.bytes, 1));
    die();
  }
  death.kind = FindingKind::kHarnessFault;
  death.recorded.store(true, std::memory_order_release);
}

#endif

}  // namespace nmrfuzz::fuzz
