// strategy.h - who decides: the one source of every decision of an execution.
//
// A strategy is asked two questions: which of the runnable threads goes on, and which of n alternatives happens (a
// status, a delay, a failure). Random ones answer from a seed, the replay from a reproducer, the fuzzer's from bytes.
// The scheduler asks only where there is more than one answer, and writes every answer into the decision log.
//
// A thread announces what it is about to do before each scheduling point (its Operation), so that strategies which look
// at conflicts (partial order sampling, selectively uniform random walk, reads-from) and exhaustive search need nothing
// more.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "schedule/random_bits.h"
#include "trace/event.h"

namespace nmrfuzz::schedule {

using trace::ObjectNumber;
using trace::RoutineNumber;
using trace::ThreadNumber;

// Thread number 0 is the clock: picking it fires the next timer that is due, whatever else could run. Real threads may
// be arbitrarily slow, so a time-out may fire at any moment. After kEarlyTicksMaximum such moments in one phase (a
// module's unload begins a new one) the clock waits until nobody else can run or kStepsPerEarlyTick steps have gone by.
// In between it rests for a decided number of steps, so that they spread over the phase.
inline constexpr ThreadNumber kClock = 0;

// How an operation uses its object. Two operations conflict when they name the same object and one of them is a write.
enum class Access : std::uint8_t { kNone, kRead, kWrite };

// What a thread is about to do.
struct Operation {
  RoutineNumber routine = 0;
  Access access = Access::kNone;
  ObjectNumber object = 0;
};

// The state of the machine at a scheduling point.
struct Choices {
  std::span<const ThreadNumber> runnable;  // at least two; in no particular but in a reproducible order
  ThreadNumber current = 0;                // who ran last; may have stopped being runnable
  const Operation* pending = nullptr;      // by thread number
};

// What a choice is about, for strategies and for the reader of a reproducer. Append only.
enum class ChoiceKind : std::uint8_t { kScenario, kWorld, kFault, kPeer, kCompletion, kWakeOrder, kMoment };

// What is known of an execution before it begins, from the probe of the same module.
struct Estimate {
  std::uint32_t threads = 8;
  std::uint32_t decisions = 64;
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string_view name() const = 0;

  // A new execution. All state of the previous one is forgotten.
  virtual void begin(std::uint64_t seed) = 0;

  // Returns a member of choices.runnable.
  virtual ThreadNumber pick(const Choices& choices) = 0;
  // Returns a number below `alternatives`. REQUIRES: alternatives > 1.
  virtual std::uint32_t choose(std::uint32_t alternatives, ChoiceKind kind) = 0;

  // A strategy whose pick() is choices.runnable[bits.below(runnable.size())] may say so here: the scheduler then draws
  // by itself, which spares a call at every scheduling point.
  virtual RandomBits* uniform_bits() { return nullptr; }

  // Whether the first three notifications below are wanted; they cost a call each.
  virtual bool wants_notifications() const { return false; }
  virtual void on_runnable(ThreadNumber) {}
  virtual void on_not_runnable(ThreadNumber) {}
  // `thread` is a new one; on_runnable follows.
  virtual void on_started(ThreadNumber) {}
  // `thread` says that others should go first (a spin loop, a delay, the clock after a tick). Always told.
  virtual void on_yield(ThreadNumber) {}
};

}  // namespace nmrfuzz::schedule
