// accesses.h - the access points of an execution: every load, store and atomic operation of the modules passes here.
//
// Each access has an ordinal: 1, 2, ... over the whole execution, the same in every build, since all builds are made
// from one instrumented bitcode. What happens at an access, in this order:
//   preemption   at the few ordinals that the scenario names the running thread is preempted: others may go first. A
//                volatile access is a scheduling point always. A thread that goes on for kAccessesPerYield accesses
//                without any scheduling point has to let others go first too, as on a real system.
//   (the check of the pointer, module/access.h)
//   race check   against the accesses that are remembered of the same bytes (shadow.h) by happens-before
//                (happens_before.h). C. Flanagan, S. Freund: FastTrack: Efficient and Precise Dynamic Race Detection,
//                PLDI 2009: the same fast path for an access that repeats an earlier one of the same epoch, and
//                accesses are forgotten when a later one stands for them. Departures: by byte instead of by variable;
//                three kinds of access with the table of access_kind.h; unordered reads are a list instead of a vector
//                clock.
//   event        kAccess if another thread has touched the bytes before, one of the two writing: what the interleaving
//                is about. Memory that no other thread touches leaves no event.
// The first race of an execution is stated in its event's outcome; contract/data_race.cpp judges it.
//
// kAccess: object: the pool block or 0; status: number of the place (by first appearance); a: Shape; outcome kOk,
// kUnordered or kUnorderedRead; for these two b: ordinal of the earlier access.
//
// Thread safety: none; one execution, one OS thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernel/access_observer.h"
#include "kernel/kernel.h"
#include "race/access_kind.h"
#include "race/happens_before.h"
#include "race/shadow.h"
#include "trace/numbering.h"

namespace nmrfuzz::race {

// What a kAccess event says in `a`.
struct Shape {
  std::uint8_t bytes = 0;  // 255 for more
  bool is_write = false;
  AccessKind kind = AccessKind::kPlain;
  bool is_free = false;  // the pool block is freed: a write of all its bytes
  std::uint64_t ordinal = 0;

  std::uint64_t packed() const {
    return std::uint64_t{bytes} | (is_write ? 1U << 8 : 0U) | static_cast<std::uint64_t>(kind) << 9 |
           (is_free ? 1U << 11 : 0U) | ordinal << 16;
  }
  static Shape of(std::uint64_t packed) {
    return {static_cast<std::uint8_t>(packed), (packed >> 8 & 1) != 0, static_cast<AccessKind>(packed >> 9 & 3),
            (packed >> 11 & 1) != 0, packed >> 16};
  }
};

class Accesses final : public kernel::AccessObserver, private trace::Observer {
 public:
  // How many accesses one thread makes before it has to let others go first.
  static constexpr std::uint64_t kAccessesPerYield = 4096;

  // Becomes the kernel's observer of accesses.
  explicit Accesses(kernel::Kernel& kernel);
  ~Accesses() override;
  Accesses(const Accesses&) = delete;
  Accesses& operator=(const Accesses&) = delete;

  // A new execution. `preemptions`: ordinals, ascending; they outlive it.
  void reset(std::span<const std::uint32_t> preemptions);

  // Of the execution so far.
  std::uint64_t count() const { return count_; }
  const HappensBefore& order() const { return order_; }

  // Somebody who wants to know when the access with an ordinal is about to be made: for stacks on a repetition.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void on_ordinal(const void* pointer, const Shape& shape) = 0;
  };
  // From the next reset on, nullptr for nobody.
  void watch(Watcher* watcher, std::uint64_t ordinal) {
    watcher_ = watcher;
    watched_ = ordinal;
  }

  // The first half of an access: counts it, and lets others go first where that is due. Returns its ordinal.
  [[gnu::always_inline]] std::uint64_t reach(const void* pointer, std::size_t bytes, AccessKind kind, bool is_write) {
    const std::uint64_t ordinal = ++count_;
    if (ordinal >= next_stop_) [[unlikely]] {
      stop(pointer, bytes, manner_of(kind, is_write));
    }
    if (kind != AccessKind::kPlain) {
      point(is_write);
    }
    return ordinal;
  }

  // The second half, behind the check of the pointer.
  [[gnu::always_inline]] void make(std::uint64_t ordinal, const void* pointer, std::size_t bytes, AccessKind kind,
                                   bool is_write) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    const Manner manner = manner_of(kind, is_write);
    if (kind == AccessKind::kPlain && address % Shadow::kGranule + bytes <= Shadow::kGranule) [[likely]] {
      const Shadow::Cell cell = shadow_.cell(address);
      const std::uint8_t mask = mask_of(address, bytes);
      if (repeats(*cell.head, mask, manner)) {
        return;
      }
      const Found found = note(ordinal, cell, mask, manner);
      if (found.shared) [[unlikely]] {
        tell(ordinal, pointer, bytes, manner, found, false);
      }
    } else {
      make_range(ordinal, pointer, bytes, manner);
    }
  }

  std::uint32_t on_interlocked(const void* place, std::size_t bytes, kernel::InterlockedOrder order) override;
  void on_free(const void* memory, std::size_t bytes) override;
  void forget(const void* memory, std::size_t bytes) override;

 private:
  // What the records of the same bytes say to an access.
  struct Found {
    bool shared = false;     // another thread's is among them, and one of the two writes
    std::uint32_t race = 0;  // ordinal of the latest that is not ordered before, and must be
    std::uint32_t tolerated = 0;
  };
  // A thread starts on the stack of one that has ended.
  void on_event(const trace::Event& event) override;
  static std::uint8_t mask_of(std::uintptr_t address, std::size_t bytes) {
    return static_cast<std::uint8_t>(((1U << bytes) - 1) << address % Shadow::kGranule);
  }
  const HappensBefore::ThreadClock& self() const { return order_.thread(kernel_.scheduler().current().number); }

  // Whether the newest record is one of this thread, of its present epoch, that stands for the access.
  [[gnu::always_inline]] bool repeats(std::uint32_t head, std::uint8_t mask, Manner manner) {
    const Record& newest = shadow_.record(head);
    const HappensBefore::ThreadClock& thread = self();
    return newest.slot == thread.slot && newest.clock == order_.now(thread) && (newest.mask & mask) == mask &&
           is_stood_for(newest.manner, manner) && shadow_.holds(head);
  }
  Found note(std::uint64_t ordinal, Shadow::Cell cell, std::uint8_t mask, Manner manner);
  bool is_covered(std::uint32_t head, std::uint8_t mask, Manner manner);
  static void compare(const Record& record, Manner manner, Found& found);
  void make_range(std::uint64_t ordinal, const void* pointer, std::size_t bytes, Manner manner);
  Found note_atomic(std::uint64_t ordinal, std::uintptr_t address, std::size_t bytes, Manner manner,
                    std::uint32_t place, kernel::InterlockedOrder order);
  Found note_range(std::uint64_t ordinal, std::uintptr_t address, std::size_t bytes, Manner manner);
  void tell(std::uint64_t ordinal, const void* pointer, std::size_t bytes, Manner manner, const Found& found,
            bool is_free);
  void stop(const void* pointer, std::size_t bytes, Manner manner);
  void notify_watcher(const void* pointer, std::size_t bytes, Manner manner, bool is_free);
  static Shape shape_of(std::uint64_t ordinal, std::size_t bytes, Manner manner, bool is_free);
  void plan_stop();
  void point(bool is_write);
  static std::uint16_t stack_of(void* self, std::uintptr_t address);

  kernel::Kernel& kernel_;
  HappensBefore order_;
  Shadow shadow_;
  trace::Numbering places_;
  std::vector<bool> stack_touched_;  // by thread number: its stack has records
  std::uint64_t count_ = 0;
  std::uint64_t next_stop_ = 0;
  std::uint64_t next_yield_ = 0;
  std::uint64_t steps_at_yield_ = 0;
  std::span<const std::uint32_t> preemptions_;  // those to come
  Watcher* watcher_ = nullptr;
  std::uint64_t watched_ = 0;
  bool raced_ = false;
  bool tolerated_ = false;
};

// The access points of the execution in force; nullptr where they are off.
inline Accesses* accesses_in_force = nullptr;

}  // namespace nmrfuzz::race
