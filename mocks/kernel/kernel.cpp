#include "kernel/kernel.h"

#include <algorithm>
#include <utility>

#include "kernel/mutant.h"

namespace nmrfuzz::kernel {

using trace::EventKind;

namespace {

// A thread that has done nothing. Copied from here: a temporary would be written in small pieces and read back in large
// ones at once, for which the processor has to wait.
constexpr ThreadState kFreshThread;

}  // namespace

Kernel* set_current_kernel(Kernel* kernel) { return std::exchange(kernel_in_force, kernel); }

Kernel::Kernel(schedule::Scheduler& scheduler) : scheduler_(scheduler), thread_states_(schedule::kThreadsMaximum) {
  constexpr std::size_t kWaitBlocks = 8192;
  wait_blocks_.reserve(kWaitBlocks);
  free_wait_blocks_.reserve(kWaitBlocks);
}

void Kernel::reset(const Options& options) {
  options_ = options;
  fallible_calls_ = 0;
  objects_.reset();
  pool_.reset();
  values_.reset();
  std::fill_n(thread_states_.begin(), scheduler_.thread_limit(), kFreshThread);
  wait_blocks_.clear();
  wait_blocks_.emplace_back();  // number 0 is kNoWaitBlock
  free_wait_blocks_.clear();
  modules_ = {};
  active_dpcs_ = 0;
  groups_ = {};
  probing_ = false;
}

void Kernel::breach(Routine routine, Outcome outcome, ObjectNumber object, std::uint64_t a, std::uint64_t b) {
  if (outcome == Outcome::kFreedObject && object != 0) {  // a: the pool block that it was freed with
    const void* const address = objects_.at(object).address;
    a = Pool::contains(address) ? pool_.block_around(address) : 0;
  } else if (outcome == Outcome::kCharacteristicsFreed || outcome == Outcome::kDispatchFreed) {
    a = objects_.at(object).link;  // the registration or binding that uses it
    b = objects_.at(object).flags;
  }
  write(EventKind::kBreach, routine, object, 0, a, b, outcome);
}

bool Kernel::counted_call_fails(Routine routine) {
  // One in eight where failures are on at all: executions with none and with several both occur often.
  constexpr std::uint32_t kOdds = 8;
  ++fallible_calls_;
  const bool fails = options_.faults || is_mutant(Mutant::kFailsUnasked)
                         ? scheduler_.choose(kOdds, schedule::ChoiceKind::kFault) == kOdds - 1
                         : fallible_calls_ == options_.failing_calls[0] || fallible_calls_ == options_.failing_calls[1];
  if (fails) {
    write(EventKind::kInjectedFailure, routine, 0, 0, fallible_calls_);
  }
  return fails;
}

bool Kernel::probe_elsewhere(Routine routine, const void* pointer, std::size_t bytes) {
  constexpr std::uintptr_t kNullPages = 0x10000;
  constexpr std::uintptr_t kCanonicalEnd = 0x0000800000000000;
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  Outcome outcome = Outcome::kOk;
  if (address < kNullPages && is_mutant(Mutant::kAllowsNullPages)) {
    return true;
  }
  if (address < kNullPages) {
    outcome = Outcome::kNullArgument;
  } else if (address >= kCanonicalEnd || address + bytes > kCanonicalEnd) {
    outcome = Outcome::kUnreadableArgument;
  } else if (Pool::contains(pointer)) {
    outcome = pool_.check(pointer, bytes);
  }
  if (outcome != Outcome::kOk) [[unlikely]] {
    breach(routine, outcome, pool_.block_around(pointer), bytes);
    return false;
  }
  // A fault here is the module's: whoever handles the signal looks at probing().
  probing_ = true;
  const auto* const memory = static_cast<const volatile char*>(pointer);
  (void)memory[0];
  (void)memory[bytes - 1];
  probing_ = false;
  return true;
}

Object& Kernel::add_object(ObjectKind kind, const void* address) {
  if (objects_.full()) {
    scheduler_.end(schedule::EndReason::kOutOfThreads);
  }
  const ObjectNumber number = objects_.add(kind, address, thread_state().module);
  Object& object = objects_.at(number);
  if (Pool::contains(address) && !is_mutant(Mutant::kForgetsObjectsOfBlock)) {
    if (const std::uint32_t block = pool_.block_around(address); block != 0) {
      object.next_in_block = std::exchange(pool_.block(block).first_object, number);
    }
  }
  return object;
}

Outcome Kernel::destroy_object(Object& object) {
  Outcome outcome = Outcome::kOk;
  if (object.owner != 0 || object.readers != 0) {
    outcome = Outcome::kLockFreedWhileHeld;
  } else if ((object.kind == ObjectKind::kRundown || object.kind == ObjectKind::kCacheAwareRundown) &&
             object.count != 0) {
    outcome = Outcome::kRundownFreedWhileHeld;
  } else if (object.kind == ObjectKind::kRegistrationData && object.queued) {
    outcome = object.flags >= kHeldClientDispatch ? Outcome::kDispatchFreed : Outcome::kCharacteristicsFreed;
  } else if (object.queued) {
    outcome = Outcome::kFreedWhileQueued;
  } else if (has_waiters(object) || object.kind == ObjectKind::kLookasideList) {
    // A lookaside list must be deleted first: the system has it in a list of its own.
    outcome = Outcome::kFreedWhileInUse;
  }
  object.kind = ObjectKind::kNone;
  return outcome;
}

void Kernel::leave_changed(const Entry& entry, Routine callback) {
  constexpr std::uint64_t kField = 0xffff;
  ThreadState& state = thread_state();
  if (irql() != entry.irql && !is_mutant(Mutant::kIgnoresIrqlAtReturn)) {
    breach(callback, Outcome::kIrqlChanged, 0, entry.irql, irql());
    set_irql(entry.irql);
  }
  if (state.locks_held != (entry.held & kField) && !is_mutant(Mutant::kIgnoresLocksAtReturn)) {
    breach(callback, Outcome::kLockHeldAtReturn, 0, entry.held & kField, state.locks_held);
    state.locks_held = static_cast<std::uint16_t>(entry.held & kField);
  }
  if (state.held() != entry.held) {
    breach(callback, Outcome::kRegionUnbalanced);
    state.critical_regions = static_cast<std::uint16_t>(entry.held >> 16 & kField);
    state.guarded_regions = static_cast<std::uint16_t>(entry.held >> 32 & kField);
  }
}

void Kernel::abandon_module_frames() {
  ThreadState& state = thread_state();
  if (state.module != 0) {
    modules_[state.module].inside -= state.depth;
  }
  state.depth = 0;
  state.module = 0;
}

ThreadNumber Kernel::spawn(schedule::ThreadRole role, schedule::ThreadBody body, void* argument, std::uint8_t irql) {
  const ThreadNumber thread = scheduler_.spawn(role, body, argument, irql);
  thread_states_[thread] = kFreshThread;
  return thread;
}

const char* name_of(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kNone:
      return "object";
    case ObjectKind::kSpinLock:
      return "spin lock";
    case ObjectKind::kReaderWriterSpinLock:
      return "reader/writer spin lock";
    case ObjectKind::kFastMutex:
      return "fast mutex";
    case ObjectKind::kPushLock:
      return "push lock";
    case ObjectKind::kRundown:
      return "rundown reference";
    case ObjectKind::kNotificationEvent:
      return "notification event";
    case ObjectKind::kSynchronizationEvent:
      return "synchronization event";
    case ObjectKind::kMutex:
      return "mutex";
    case ObjectKind::kSemaphore:
      return "semaphore";
    case ObjectKind::kNotificationTimer:
    case ObjectKind::kSynchronizationTimer:
      return "timer";
    case ObjectKind::kThread:
      return "thread";
    case ObjectKind::kDpc:
      return "DPC";
    case ObjectKind::kWorkItem:
      return "work item";
    case ObjectKind::kIoWorkItem:
      return "I/O work item";
    case ObjectKind::kLookasideList:
      return "lookaside list";
    case ObjectKind::kDevice:
      return "device object";
    case ObjectKind::kSymbolicLink:
      return "symbolic link";
    case ObjectKind::kThreadHandle:
      return "thread handle";
    case ObjectKind::kExTimer:
      return "timer object";
    case ObjectKind::kCacheAwareRundown:
      return "cache-aware rundown reference";
    case ObjectKind::kRegistrarWait:
      return "registrar";
    case ObjectKind::kRegistrationData:
      return "registered data";
  }
  return "object";
}

}  // namespace nmrfuzz::kernel
