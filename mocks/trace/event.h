// event.h - the one event type: everything that happens at the border of a module under test.
//
// Rules, the trace hash, reports, the sequence picture and interleaving coverage all read one ordered stream of
// these; nothing else leaves the mocks. An event is plain data of 32 bytes and holds no address: objects are named
// by small stable numbers, values that a module chose (contexts, handles) by their order of first appearance.
//
// The meaning of `object`, `status`, `a` and `b` depends on the kind and is given beside each kind below.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nmrfuzz::trace {

// What happened. The numeric values are part of the trace hash: append, never reorder.
enum class EventKind : std::uint8_t {
  kNone = 0,

  // Scheduling.
  kThreadStart,  // object: the thread that was created; a: its role (schedule::ThreadRole)
  kThreadEnd,    // the current thread's body has returned
  kSwitch,       // the thread of this event goes on; a: the thread that was running before
  kBlock,        // the current thread starts to wait; object: the first object it waits for, 0 for none
  kTimePasses,   // the clock moved on; a: virtual time in 100 ns units

  // Kernel routines. One event a call, written when the call takes effect.
  kCall,      // routine; object: what it was called on; status: its result; a, b: routine's own
  kReturn,    // a call that had blocked returns; routine, object, status
  kAllocate,  // routine; object: pool block (0 when it failed); a: bytes; b: tag
  kFree,      // routine; object: pool block; b: tag
  kBreach,  // a routine found its protocol broken: outcome says how; routine, object; a: pool block, where there is one
  kBadAccess,  // the module touched memory that it may not: outcome; object: pool block or 0; a: bytes; b: 1 = write
  kBugCheck,   // a: bug check code; b: the first parameter's number

  // Work that runs later: timers, DPCs, work items, threads of the module.
  kWorkQueued,     // object: the DPC, work item or thread object; a: its ObjectKind; module: whose routine it is
  kWorkStarted,    // the routine is entered
  kWorkEnded,      // the routine has returned
  kWorkCancelled,  // taken back before it started

  // The Network Module Registrar. Registrations and bindings are objects; `module` owns the registration.
  kRegisterEnter,    // routine; a: number of the NPI; b: number of the context; object: the new registration
  kRegisterExit,     // object: registration; status; a: 1 when the failure was injected
  kDeregisterEnter,  // object: registration the handle names, 0 if none; a: nmr::HandleState; b: 1 = a failed
                     // Register's
  kDeregisterExit,   // object, status
  kWaitEnter,        // object, a: as kDeregisterEnter; b: bindings outstanding, stale: 1 = tolerated
  kWaitExit,         // object, status
  kOffer,            // object: the new binding; a: client registration; b: provider registration
  kAttachCallEnter,  // NmrClientAttachProvider: object: binding, a: handle state; b: number of the client's context
  kAttachCallExit,   // object: binding; status
  kCallbackEnter,    // object: binding; a: nmr::Callback; b: number of the context passed; module: whose callback
  kCallbackExit,     // object: binding; a: nmr::Callback; status; b: bit 0: context output set, bit 1: dispatch set
  kComplete,  // *DetachComplete: routine, object: binding, a: handle state, b: side's progress (nmr::DetachProgress)
  kRegistrationState,  // object: registration; a: from; b: to (nmr::RegistrationState)
  kBindingState,       // object: binding; a: from; b: to (nmr::BindingState)
  kSideState,          // object: binding; a: from; b: to (nmr::DetachProgress); status: nmr::Role of the side

  // The module's life.
  kDriverEntryEnter,  // module
  kDriverEntryExit,   // module; status
  kUnloadEnter,       // module
  kUnloadExit,        // module
  kImageGone,         // module: its code and data must not be touched any more

  // The end of an execution.
  kDeadlock,   // a: threads that wait
  kStepLimit,  // a: steps taken
  kEnd,        // every thread has ended

  kLeftOver,  // after the image went: a kernel resource of the module still exists; object, a: kernel::ObjectKind

  // A module's call through the dispatch table that a peer gave it. module: the caller.
  kNpiCallEnter,  // object: binding, 0 if several share the table; status: nmr::Role of the caller's side; a: index of
                  // the function; b: number of the first argument if an event has named that value before, else 0
  kNpiCallExit,   // as kNpiCallEnter

  kInjectedFailure,  // the module's call of routine is made to fail; a: its number among those that can (from 1)

  // The module's own loads and stores, where they are access points (race/accesses.h).
  kAccess,      // bytes that another thread touched before; object: pool block or 0; status: number of the place; a:
                // race::Shape; outcome; kUnordered, kUnorderedRead: b: the earlier access's ordinal
  kWaitObject,  // object: one of several dispatcher objects that satisfied the thread's wait
  kCount
};

// How a call broke its routine's protocol. Each value belongs to one finding kind (contract/protocol.cpp).
enum class Outcome : std::uint8_t {
  kOk = 0,
  kInjected,  // the failure was decided by the schedule: not a breach

  // Arguments.
  kNullArgument,
  kUnreadableArgument,
  kUninitializedObject,
  kWrongObject,  // an object of another type, or memory that was overwritten
  kFreedObject,

  // Interrupt request level.
  kIrqlTooHigh,
  kIrqlTooLow,
  kIrqlRaisedByLower,  // KeLowerIrql to a higher level, KeRaiseIrql to a lower one
  kIrqlChanged,        // a callback returned at another level than it was entered at
  kWaitAtRaisedIrql,
  kPagedAtRaisedIrql,

  // Locks and references.
  kLockUninitialized,
  kLockNotOwned,
  kLockRecursive,  // taken again by its owner where the lock does not allow it: the thread waits for itself
  kLockHeldAtReturn,
  kLockFreedWhileHeld,
  kRegionUnbalanced,  // critical or guarded region left without having been entered, or still in force at return
  kRundownUnderflow,
  kRundownFreedWhileHeld,
  kReferenceUnderflow,

  // Pool.
  kDoubleFree,
  kBadFree,  // not the start of a pool block
  kWrongTag,
  kOverflow,  // the bytes behind or before a block were overwritten
  kWrittenAfterFree,
  kFreedWhileInUse,  // a block with a live timer, DPC, work item, event with waiters, or registration in it

  // Accesses.
  kNullAccess,
  kFreedAccess,
  kOutOfBounds,
  kWildAccess,
  kUninitializedValue,

  // Deferred work.
  kQueuedTwice,
  kReinitializedWhileQueued,
  kFreedWhileQueued,

  // Other objects.
  kDeletedTwice,
  kStaleHandle,
  kBadArgumentValue,

  // Registration with NMR.
  kCharacteristicsFreed,   // what was handed to Register is freed before the deregistration is complete
  kCharacteristicsReused,  // Register with the structures of a deregistration that is not complete
  kWrongVersion,           // fields that Register reads, as they must not be
  kWrongLength,
  kWrongInstanceSize,
  kWrongInstanceVersion,
  kMissingNpiId,
  kWrongModuleId,
  kMissingModuleId,
  kMissingCallback,  // attach or detach
  kForeignCallback,  // attach or detach that is no function of the module
  kForeignCleanup,
  kSameNumber,              // two live registrations that nothing tells apart
  kCharacteristicsShared,   // Register with the structures of a live registration
  kCharacteristicsChanged,  // the content of what was handed to Register is another one now
  kDispatchFreed,           // a dispatch table is freed while the other side may call through it
  kHandleOverwritten,       // Register stores its handle over that of a live registration (object: that one)

  // Accesses of two threads, one of them a write, with no happens-before between them.
  kUnordered,
  kUnorderedRead,  // an aligned plain read and an interlocked write

  kCount
};

using RoutineNumber = std::uint16_t;  // kernel::Routine; 0 = none
using ObjectNumber = std::uint32_t;   // 0 = none
using ThreadNumber = std::uint16_t;
using ModuleNumber = std::uint8_t;  // 0 = the environment (kernel, registrar, peers)

struct Event {
  EventKind kind = EventKind::kNone;
  std::uint8_t irql = 0;  // of the current thread when the event was written
  ThreadNumber thread = 0;
  RoutineNumber routine = 0;
  Outcome outcome = Outcome::kOk;
  ModuleNumber module = 0;
  ObjectNumber object = 0;
  std::uint32_t status = 0;
  std::uint64_t a = 0;
  std::uint64_t b = 0;
};

static_assert(sizeof(Event) == 32 && std::is_trivially_copyable_v<Event>);

// The four words that an event lies in.
using EventWords = std::array<std::uint64_t, 4>;

// The words of an event, put together in registers: the recorder hashes and stores whole words.
[[gnu::always_inline]] inline EventWords words_of(EventKind kind, std::uint8_t irql, ThreadNumber thread,
                                                  RoutineNumber routine, Outcome outcome, ModuleNumber module,
                                                  ObjectNumber object, std::uint32_t status, std::uint64_t a,
                                                  std::uint64_t b) {
  static_assert(std::endian::native == std::endian::little);
  const std::uint64_t who = static_cast<std::uint64_t>(kind) | std::uint64_t{irql} << 8 | std::uint64_t{thread} << 16 |
                            std::uint64_t{routine} << 32 | static_cast<std::uint64_t>(outcome) << 48 |
                            std::uint64_t{module} << 56;
  return {who, std::uint64_t{object} | std::uint64_t{status} << 32, a, b};
}

inline constexpr std::size_t kEventKinds = static_cast<std::size_t>(EventKind::kCount);

}  // namespace nmrfuzz::trace
