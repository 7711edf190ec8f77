// kernel.h - the simulated kernel of one execution: objects, pool, waits, deferred work, and who is in which module.
//
// Entry points (KeSetEvent, ExAllocatePool2, ...) are C functions with the documented prototypes, one file per group.
// Each of them: checks IRQL (check_irql), checks its pointers (probe, find), is a scheduling point (point), takes
// effect, and writes one event (called). A broken protocol is written as a kBreach event (breach); the rules decide
// what it means. With rules attached breach() does not return; without them (unit tests) the routine goes on as
// harmlessly as it can.
//
// Thread safety: none; one execution, one OS thread. Nothing is allocated during an execution.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/access_observer.h"
#include "kernel/object.h"
#include "kernel/pool.h"
#include "kernel/routine.h"
#include "kernel/shared_holds.h"
#include "schedule/scheduler.h"
#include "trace/numbering.h"

namespace nmrfuzz::kernel {

using schedule::Access;
using trace::Outcome;

// One execution of a routine of deferred work: a DPC, work item, timer callback or system thread (deferred_work.h).
// A copy of everything the routine is called with, since it may free the structure that it was queued with.
struct Work {
  ObjectNumber object = 0;  // its record; 0: none, or it was taken back
  ObjectKind kind = ObjectKind::kNone;
  ModuleNumber module = 0;   // whose routine it is
  bool entered = false;      // the routine has been called
  std::uint64_t number = 0;  // counts all work up, in the order of queueing
  void* address = nullptr;   // the structure, as the routine gets it
  void* routine = nullptr;
  void* context = nullptr;
  void* argument1 = nullptr;
  void* argument2 = nullptr;
};

// What the kernel knows of a simulated thread beyond the scheduler's record.
struct ThreadState {
  ModuleNumber module = 0;  // whose code runs, 0 for the environment's
  std::uint16_t depth = 0;  // module frames (entries that have not returned) on the stack
  std::uint16_t locks_held = 0;
  SharedHolds shared;  // those of them that are held for shared access
  std::uint16_t critical_regions = 0;
  std::uint16_t guarded_regions = 0;
  ObjectNumber object = 0;     // its thread object, if somebody can wait for it
  std::uint64_t affinity = 0;  // processors that the module confined it to, 0 for any
  Work work;                   // what the thread was made for
  // The wait in force.
  std::uint32_t first_wait_block = kNoWaitBlock;
  bool waits_for_all = false;
  std::int32_t wait_status = 0;
  schedule::TimerId wait_timer = 0;

  // What a callback must leave as it found it, in one comparable value.
  std::uint64_t held() const {
    return std::uint64_t{locks_held} | std::uint64_t{critical_regions} << 16 | std::uint64_t{guarded_regions} << 32;
  }
};

// One thread waiting for one object.
struct WaitBlock {
  ObjectNumber object = 0;
  ThreadNumber thread = 0;
  std::uint16_t key = 0;              // index in the wait's array of objects
  std::uint32_t next = kNoWaitBlock;  // in the object's queue
  std::uint32_t previous = kNoWaitBlock;
  std::uint32_t next_of_thread = kNoWaitBlock;
};

// A module under test as far as the kernel has to know it.
struct ModuleState {
  std::uint32_t inside = 0;         // module frames on all stacks
  std::uint32_t image_holders = 0;  // queued or running IoQueueWorkItem routines: they hold the device, so the image
  bool loaded = false;
  bool unloading = false;  // DriverUnload has returned; waits for image_holders
  ThreadNumber unload_waiter = 0;
};

// What single groups of routines keep for one execution.
struct GroupState {
  static constexpr std::size_t kProcessors = 64;  // one group
  std::uint64_t work_queued = 0;                  // Work::number of the latest
  ObjectNumber work_done = 0;                     // the record that flushes wait for (deferred_work.cpp)
  std::uint64_t time_asked = 0;  // the answer of the latest questions for the time, and how many had it
  std::uint32_t time_questions = 0;
  std::array<ThreadNumber, kProcessors> processors{};  // who was told to be on it last
};

struct Options {
  bool faults = false;  // routines that can fail do so when a decision says so
  // Else the modules' calls of these numbers fail, counted from 1 in the order in which they are made; 0 for none.
  std::array<std::uint32_t, 2> failing_calls{};
};

class Kernel {
 public:
  static constexpr std::size_t kModulesMaximum = 16;
  // The system time at the start of each execution, 100 ns units since 1601: some day in 2024. Never 0, which modules
  // use for "never".
  static constexpr std::uint64_t kSystemTimeAtStart = 0x01da'8000'0000'0000;

  explicit Kernel(schedule::Scheduler& scheduler);
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  void reset(const Options& options);

  // --- The parts every routine uses -----------------------------------------------------------------------------

  schedule::Scheduler& scheduler() { return scheduler_; }
  ThreadState& thread_state() { return thread_states_[scheduler_.current().number]; }
  ThreadState& thread_state(ThreadNumber thread) { return thread_states_[thread]; }
  std::uint8_t irql() const { return scheduler_.current().irql; }
  void set_irql(std::uint8_t irql) { scheduler_.current().irql = irql; }

  // A breach if the current thread's IRQL is above the routine's documented maximum.
  void check_irql(Routine routine) {
    if (scheduler_.current().irql > row_of(routine).irql_maximum) [[unlikely]] {
      breach(routine, Outcome::kIrqlTooHigh);
    }
  }
  // A scheduling point before `routine` works on `object`.
  [[gnu::always_inline]] void point(Routine routine, ObjectNumber object = 0, Access access = Access::kWrite) {
    scheduler_.point({static_cast<trace::RoutineNumber>(routine), access, object});
  }
  // Writes the event of a call that has taken effect.
  [[gnu::always_inline]] void called(Routine routine, ObjectNumber object = 0, std::int32_t status = 0,
                                     std::uint64_t a = 0, std::uint64_t b = 0) {
    write(trace::EventKind::kCall, routine, object, status, a, b);
  }
  [[gnu::always_inline]] void write(trace::EventKind kind, Routine routine, ObjectNumber object,
                                    std::int32_t status = 0, std::uint64_t a = 0, std::uint64_t b = 0,
                                    Outcome outcome = Outcome::kOk) {
    scheduler_.write(kind, object, a, b, static_cast<std::uint32_t>(status), static_cast<trace::RoutineNumber>(routine),
                     thread_state().module, outcome);
  }
  // As write(), about code of `module`, which need not be the current one.
  void write_for(ModuleNumber module, trace::EventKind kind, Routine routine, ObjectNumber object, std::uint64_t a = 0,
                 std::uint64_t b = 0) {
    scheduler_.write(kind, object, a, b, 0, static_cast<trace::RoutineNumber>(routine), module);
  }
  // Reports that the current call breaks the routine's protocol.
  void breach(Routine routine, Outcome outcome, ObjectNumber object = 0, std::uint64_t a = 0, std::uint64_t b = 0);
  // Whether this call of a routine that can fail fails. A decision, or planned beforehand. The environment's do not.
  bool fails(Routine routine) { return thread_state().module != 0 && counted_call_fails(routine); }
  // Calls of modules to routines that can fail, so far.
  std::uint32_t fallible_calls() const { return fallible_calls_; }

  // Whether `bytes` at `pointer` may be touched; a breach if not. NULL, freed or foreign pool and addresses outside
  // the canonical range are recognised; any other fault is caught as the module's while `probing` is set.
  bool probe(Routine routine, const void* pointer, std::size_t bytes) {
    return pool_.allows(pointer, bytes) || probe_elsewhere(routine, pointer, bytes);
  }
  bool probing() const { return probing_; }

  // The number by which events name a value the module chose.
  std::uint32_t number_of_value(const void* value) { return values_.number(reinterpret_cast<std::uint64_t>(value)); }
  // That number if the value has one already, else 0.
  std::uint32_t known_number_of_value(const void* value) const {
    return values_.find(reinterpret_cast<std::uint64_t>(value));
  }

  // --- Objects in the module's memory -----------------------------------------------------------------------------

  ObjectTable& objects() { return objects_; }
  Pool& pool() { return pool_; }
  // Makes a record for the structure at `address` and ties it to the pool block that holds it.
  Object& add_object(ObjectKind kind, const void* address);
  // The record named by `number` in the structure at `address`, of one of the kinds for which `accepts(kind)`; a breach
  // and nullptr otherwise.
  template <class Accepts>
  Object* find(Routine routine, ObjectNumber number, const void* address, Accepts accepts) {
    Object* const object = objects_.find(number, address);
    if (object == nullptr || !accepts(object->kind)) [[unlikely]] {
      breach(routine, object == nullptr ? Outcome::kUninitializedObject : Outcome::kWrongObject);
      return nullptr;
    }
    return object;
  }
  // As find(), followed by the routine's scheduling point, at which another thread may free the object.
  template <class Accepts>
  Object* find_at_point(Routine routine, ObjectNumber number, const void* address, Accepts accepts) {
    Object* const object = find(routine, number, address, accepts);
    if (object != nullptr) {
      point(routine, number);
      if (!accepts(object->kind)) [[unlikely]] {
        breach(routine, Outcome::kFreedObject, number);
        return nullptr;
      }
    }
    return object;
  }
  // The object goes away with its memory. Returns how that breaks its protocol, kOk if it does not.
  Outcome destroy_object(Object& object);
  ObjectNumber number_of(const Object& object) const { return objects_.number_of(object); }

  // --- Waits (wait.cpp) ---------------------------------------------------------------------------------------------

  // Waits for one (all = false) or all of `waited`. `timeout`: nullptr for ever, else 100 ns units, negative =
  // relative. Returns an NTSTATUS: STATUS_WAIT_0 + index, or STATUS_TIMEOUT. Writes the call's events.
  std::int32_t wait(Routine routine, std::span<const ObjectNumber> waited, bool all, const std::int64_t* timeout);
  // The object has become signalled: satisfies waits in order of arrival, as far as the signal lasts.
  void signalled(ObjectNumber object);
  // When a documented time, relative (negative) or absolute, is: in units of Scheduler::now().
  std::uint64_t due_at(std::int64_t time) const;
  // For locks and whatever else is not a dispatcher object: blocks until wake_all(object), to test again.
  void block_on(ObjectNumber object);
  void wake_all(ObjectNumber object);
  bool has_waiters(const Object& object) const { return object.first_waiter != kNoWaitBlock; }

  // --- Modules ------------------------------------------------------------------------------------------------------

  ModuleState& module(ModuleNumber module) { return modules_[module]; }

  // Where the code of `module` lies, in all executions to come.
  void set_code(ModuleNumber module, std::uintptr_t begin, std::uintptr_t end) { code_[module] = {begin, end}; }
  // Whether `function` lies there; true if nobody has said where.
  bool is_code(ModuleNumber module, const void* function) const {
    const auto [begin, end] = code_[module];
    const auto address = reinterpret_cast<std::uintptr_t>(function);
    return begin == end || (address >= begin && address < end);
  }

  // Runs `function`, which calls into code of `module` (0: of the environment). Checks that a module's callback
  // returns at the IRQL and with the locks and regions that it was entered with.
  template <class Function>
  [[gnu::always_inline]] auto call_into(ModuleNumber module, Routine callback, Function function) {
    const Entry entry = enter(module);
    if constexpr (std::is_void_v<decltype(function())>) {
      function();
      leave(entry, callback);
    } else {
      const auto result = function();
      leave(entry, callback);
      return result;
    }
  }

  // Deferred work of a module runs on a thread of its own, made when the work is due.
  ThreadNumber spawn(schedule::ThreadRole role, schedule::ThreadBody body, void* argument, std::uint8_t irql);
  // The current thread leaves every module frame at once (PsTerminateSystemThread).
  void abandon_module_frames();

  // Who is told of accesses; nullptr (the default) for nobody.
  AccessObserver* access_observer() { return access_observer_; }
  void set_access_observer(AccessObserver* observer) { access_observer_ = observer; }

  // The DPCs that have been queued and have not returned yet, for KeFlushQueuedDpcs.
  std::uint32_t& active_dpcs() { return active_dpcs_; }
  GroupState& groups() { return groups_; }

 private:
  struct Entry {
    ModuleNumber module;
    ModuleNumber caller;
    std::uint8_t irql;
    std::uint64_t held;  // ThreadState::held()
  };
  bool counted_call_fails(Routine routine);
  // probe() for what is not plainly in a live pool block.
  bool probe_elsewhere(Routine routine, const void* pointer, std::size_t bytes);
  [[gnu::always_inline]] Entry enter(ModuleNumber module) {
    ThreadState& state = thread_state();
    const Entry entry{module, state.module, irql(), state.held()};
    state.module = module;
    if (module != 0) {
      ++state.depth;
      ++modules_[module].inside;
    }
    return entry;
  }
  [[gnu::always_inline]] void leave(const Entry& entry, Routine callback) {
    ThreadState& state = thread_state();
    if (entry.module != 0) {
      if (irql() != entry.irql || state.held() != entry.held) [[unlikely]] {
        leave_changed(entry, callback);
      }
      --state.depth;
      --modules_[entry.module].inside;
    }
    state.module = entry.caller;
  }
  // A callback of a module returned at another IRQL, or with other locks or regions, than it was entered with.
  void leave_changed(const Entry& entry, Routine callback);

  void write_satisfied(std::span<const ObjectNumber> waited, const ThreadState& state);
  bool try_take(Object& object, ThreadNumber thread);
  bool is_signalled(const Object& object, ThreadNumber thread) const;
  bool try_finish_wait(ThreadNumber thread, std::uint16_t key);
  void remove_wait_blocks(ThreadNumber thread);
  std::uint32_t add_wait_block(ObjectNumber object, ThreadNumber thread, std::uint16_t key);
  void unlink(std::uint32_t block);
  static void wait_timed_out(void* kernel, std::uint64_t thread);

  schedule::Scheduler& scheduler_;
  Options options_;
  std::uint32_t fallible_calls_ = 0;
  ObjectTable objects_;
  Pool pool_;
  trace::Numbering values_;
  std::vector<ThreadState> thread_states_;
  std::vector<WaitBlock> wait_blocks_;
  std::vector<std::uint32_t> free_wait_blocks_;
  std::array<ModuleState, kModulesMaximum> modules_{};
  std::array<std::pair<std::uintptr_t, std::uintptr_t>, kModulesMaximum> code_{};
  std::uint32_t active_dpcs_ = 0;
  GroupState groups_;
  AccessObserver* access_observer_ = nullptr;
  volatile bool probing_ = false;
};

// The execution in force: what C entry points, which carry no context, act on. Set by the engine (or a test) around
// each execution; the only global state of the mocks. nullptr: no execution runs.
inline Kernel* kernel_in_force = nullptr;
// REQUIRES: an execution is in force.
inline Kernel& current_kernel() { return *kernel_in_force; }
// Makes `kernel` the one in force; returns the previous one.
Kernel* set_current_kernel(Kernel* kernel);

}  // namespace nmrfuzz::kernel
