// object.h - the simulated kernel's record of each object that lives in the module's memory (locks, events, timers,
// ...).
//
// The module's structure holds only the record's number; a record knows its structure's address. Number and address
// must agree, so memory that was never initialised, was overwritten or was copied elsewhere is recognised in O(1).
// Object numbers appear in events; they count up from 1 in each execution and are never reused within it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "schedule/timer_queue.h"
#include "trace/event.h"

namespace nmrfuzz::kernel {

using trace::ModuleNumber;
using trace::ObjectNumber;
using trace::ThreadNumber;

enum class ObjectKind : std::uint8_t {
  kNone,  // unused, or gone
  kSpinLock,
  kReaderWriterSpinLock,
  kFastMutex,
  kPushLock,
  kRundown,
  // Dispatcher objects: those that KeWaitForSingleObject accepts.
  kNotificationEvent,
  kSynchronizationEvent,
  kMutex,
  kSemaphore,
  kNotificationTimer,
  kSynchronizationTimer,
  kThread,
  // Deferred work.
  kDpc,
  kWorkItem,    // WORK_QUEUE_ITEM
  kIoWorkItem,  // holds the device object, and so the image, while queued
  // Resources that unload must have given back.
  kLookasideList,
  kDevice,
  kSymbolicLink,
  kThreadHandle,
  kExTimer,
  kCacheAwareRundown,
  // The registrar's: what threads wait for, and the data that a registration keeps in use.
  kRegistrarWait,
  kRegistrationData,
};

// What the name in reports is: "event", "spin lock", ...
const char* name_of(ObjectKind kind);

// Whether KeWaitForSingleObject accepts it.
inline bool is_dispatcher(ObjectKind kind) {
  return (kind >= ObjectKind::kNotificationEvent && kind <= ObjectKind::kThread) || kind == ObjectKind::kExTimer;
}

inline bool is_timer(ObjectKind kind) {
  return kind == ObjectKind::kNotificationTimer || kind == ObjectKind::kSynchronizationTimer;
}

inline constexpr std::uint32_t kNoWaitBlock = 0;

// Object::flags by kind.
inline constexpr std::uint8_t kDpcThreaded = 1;
inline constexpr std::uint8_t kIoWorkItemAllocated = 1;  // by IoAllocateWorkItem: to be freed
inline constexpr std::uint8_t kDeviceDeleted = 1;        // waits for its last reference
inline constexpr std::uint8_t kExTimerNotification = 1;  // stays signalled
inline constexpr std::uint8_t kExTimerDeleted = 2;       // waits for its last callback

// kRegistrationData: what it is. `link` is then the number of the registration, for dispatch tables of the binding.
inline constexpr std::uint8_t kHeldStructure = 1;
inline constexpr std::uint8_t kHeldNpiId = 2;
inline constexpr std::uint8_t kHeldModuleId = 3;
inline constexpr std::uint8_t kHeldClientDispatch = 4;
inline constexpr std::uint8_t kHeldProviderDispatch = 5;

// One record. Fields that a kind does not use stay zero. Pointers belong to the module or to the environment and are
// followed only where the module's protocol promises that they are valid.
struct alignas(128) Object {  // a power of two in size: number and record convert into each other by a shift
  const void* address = nullptr;
  ObjectKind kind = ObjectKind::kNone;
  ModuleNumber module = 0;                    // who initialised it
  std::uint8_t flags = 0;                     // the kind's own
  bool queued = false;                        // timers, DPCs, work items: waiting to run
  ThreadNumber owner = 0;                     // locks: the holder, 0 for none
  std::uint16_t readers = 0;                  // shared holders
  std::int32_t signal = 0;                    // dispatcher objects: > 0 is signalled; semaphores, mutexes: count
  std::int32_t count = 0;                     // recursion, references, rundown holders; semaphore limit
  std::uint32_t first_waiter = kNoWaitBlock;  // wait blocks, in order of arrival
  std::uint32_t last_waiter = kNoWaitBlock;
  ObjectNumber next_in_block = 0;  // the next record in the same pool block
  std::uint32_t running = 0;       // deferred work: routines that have been entered and have not returned
  ObjectNumber link = 0;           // timers: their DPC; work items: device; handles: what they name
  std::uint32_t holders = 0;       // threads: open handles; devices: work items queued or running
  std::int32_t period = 0;         // timers: milliseconds, 0 for one shot
  schedule::TimerId timer = 0;
  void* routine = nullptr;
  void* context = nullptr;
  void* argument1 = nullptr;
  void* argument2 = nullptr;
};

class ObjectTable {
 public:
  static constexpr ObjectNumber kMaximum = 1U << 17;

  ObjectTable() {
    objects_.reserve(kMaximum);
    reset();
  }

  void reset() {
    objects_.clear();
    objects_.emplace_back();  // number 0 names no object
  }
  bool full() const { return objects_.size() == kMaximum; }
  // Makes a record. REQUIRES: !full().
  ObjectNumber add(ObjectKind kind, const void* address, ModuleNumber module) {
    Object& object = objects_.emplace_back();
    object.kind = kind;
    object.address = address;
    object.module = module;
    return static_cast<ObjectNumber>(objects_.size() - 1);
  }
  Object& at(ObjectNumber number) { return objects_[number]; }
  const Object& at(ObjectNumber number) const { return objects_[number]; }
  // The record that `number`, as found in the structure at `address`, names; nullptr if that is not one.
  Object* find(ObjectNumber number, const void* address) {
    if (number == 0 || number >= objects_.size()) {
      return nullptr;
    }
    Object& object = objects_[number];
    return object.address == address && object.kind != ObjectKind::kNone ? &object : nullptr;
  }
  ObjectNumber number_of(const Object& object) const { return static_cast<ObjectNumber>(&object - objects_.data()); }
  // One more than the highest number in use.
  ObjectNumber limit() const { return static_cast<ObjectNumber>(objects_.size()); }

 private:
  std::vector<Object> objects_;
};

}  // namespace nmrfuzz::kernel
