// scheduler.h - simulated threads, scheduling points, virtual time: decides every interleaving of one execution.
//
// Simulated threads are fibers on the one OS thread that called run(). Exactly one runs; it goes on until its next
// scheduling point, where the strategy picks who is next. Any runnable thread may be picked, whatever its IRQL.
// Thread safety: none. No allocation after construction except the first use of a thread number (its stack).
//
// Thread states:  free -> runnable (spawn) <-> blocked;  runnable -> free (its body returned)
// An execution ends when every thread has ended, when nobody can run and no timer is due (deadlock), at the step
// limit, or when somebody calls end(). Threads that are then in mid-call are abandoned: nothing on their stacks may own
// anything.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "schedule/fiber.h"
#include "schedule/limits.h"
#include "schedule/strategy.h"
#include "schedule/timer_queue.h"
#include "trace/recorder.h"

namespace nmrfuzz::schedule {

// What a thread is, for reports and rules.
enum class ThreadRole : std::uint8_t {
  kClock,
  kLoader,     // runs DriverEntry and DriverUnload
  kSystem,     // created by the module
  kDpc,        // a deferred procedure call on a processor of its own
  kWorker,     // a system worker thread with one work item
  kPeer,       // a module at the other end of a binding
  kRegistrar,  // a thread that the registrar uses for itself
  kTest,
};

enum class EndReason : std::uint8_t { kAllEnded, kDeadlock, kStepLimit, kStopped, kOutOfThreads };

using ThreadBody = void (*)(void* argument);

// All answers of one execution, in order: with them a Replay strategy repeats it. In a worker it lies in memory shared
// with the supervisor.
struct DecisionLog {
  std::uint32_t count = 0;
  std::array<std::uint16_t, kDecisionsMaximum> values;

  std::span<const std::uint16_t> view() const { return {values.data(), count}; }
};

// What the scheduler knows of a thread. Further attributes of threads are kept by number in the layers that need them.
struct alignas(64) Thread {  // a power of two in size, so that finding one by number is a shift
  Fiber fiber;
  class Scheduler* scheduler = nullptr;
  ThreadBody body = nullptr;
  void* argument = nullptr;
  ThreadNumber number = 0;
  std::uint16_t runnable_position = 0;  // in the runnable set; kNotRunnable otherwise
  ThreadRole role = ThreadRole::kTest;
  std::uint8_t irql = 0;
  bool alive = false;   // has a body that has not returned
  bool parked = false;  // its fiber waits for a new body at the place where it may be resumed
#if defined(NMRFUZZ_FIBER_TSAN)
  char* spawn_edge = nullptr;  // what its spawner released and it acquires; null: no simulated thread spawned it
#endif

  static constexpr std::uint16_t kNotRunnable = 0xffff;
};

class Scheduler {
 public:
  // `recorder` and `decisions` must outlive the scheduler.
  Scheduler(trace::Recorder& recorder, DecisionLog& decisions);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Forgets the previous execution and prepares the next, decided by `strategy`, which must outlive it. The caller
  // resets the recorder and begins the strategy.
  void reset(Strategy& strategy, std::uint64_t step_limit = kStepLimitDefault);
  // Runs what was spawned to the end of the execution.
  EndReason run();

  // Creates a runnable thread. From outside or from a simulated thread; not a scheduling point by itself.
  ThreadNumber spawn(ThreadRole role, ThreadBody body, void* argument, std::uint8_t irql = 0);

  // A scheduling point: `operation` is what the current thread does next. Returns when the thread is picked to go on.
  // Inlined down to the switch of stacks: after one, each return on the way up is a mispredicted branch.
  [[gnu::always_inline]] void point(const Operation& operation) {
    pending_[current_->number] = operation;
    if (++steps_ > next_check_) [[unlikely]] {
      check_steps();
    }
    if (runnable_.count > 1) {
      ThreadNumber next = decide();
      if (next == kClock) [[unlikely]] {
        next = tick_and_pick();
      }
      if (next != current_->number) {
        switch_to(threads_[next]);
      }
    }
  }
  // What a thread that was just spawned does first.
  void announce(ThreadNumber thread, const Operation& operation) { pending_[thread] = operation; }
  // As point(), and tells the strategy that others should go first.
  void yield(const Operation& operation);
  // The current thread cannot go on until make_runnable(). `object`: what it waits for.
  [[gnu::always_inline]] void block(ObjectNumber object) {
    write(trace::EventKind::kBlock, object);
    remove_runnable(*current_);
    const ThreadNumber next = pick_next();
    if (next != current_->number) {
      switch_to(threads_[next]);
    }
  }
  void make_runnable(ThreadNumber thread);
  // Blocks until no other thread can run (timers may still be due). Several waiters wake in the order of their calls.
  void wait_until_idle();

  // An answer below `alternatives` (1 asks nobody). Recorded like every decision.
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind kind) {
    if (alternatives <= 1) {
      return 0;
    }
    const std::uint32_t answer = strategy_->choose(alternatives, kind);
    log(static_cast<std::uint16_t>(answer));
    return answer;
  }

  // Timers. Units of 100 ns of virtual time. Routines run between two steps of other threads and must not block.
  std::uint64_t now() const { return now_; }
  TimerId arm(std::uint64_t due, TimerRoutine routine, void* context, std::uint64_t argument);
  bool disarm(TimerId timer);

  // A new phase of the execution begins: timers may fire early in it as often as in a whole one without.
  void renew_early_ticks();

  // Ends the execution at once; does not return. From a simulated thread or a timer routine.
  void end(EndReason reason);
  // Ends the current thread without returning from its body; does not return.
  void exit_thread();

  // Who runs now; the clock's record in timer routines and outside run().
  Thread& current() { return *current_; }
  const Thread& thread(ThreadNumber number) const { return threads_[number]; }
  Thread& thread(ThreadNumber number) { return threads_[number]; }
  // One more than the highest thread number used in this execution.
  ThreadNumber thread_limit() const { return next_fresh_; }

  // The number of scheduling points so far, and of decisions that had alternatives.
  std::uint64_t steps() const { return steps_; }
  std::uint32_t decisions() const { return log_.count; }
  trace::Recorder& recorder() { return recorder_; }

  // An event of `kind` by the current thread, to be completed and written by the caller.
  trace::Event event(trace::EventKind kind) const {
    trace::Event event;
    event.kind = kind;
    event.thread = current_->number;
    event.irql = current_->irql;
    return event;
  }
  [[gnu::always_inline]] void write(const trace::Event& event) { recorder_.write(event); }
  // Writes an event by the current thread.
  [[gnu::always_inline]] void write(trace::EventKind kind, ObjectNumber object, std::uint64_t a = 0,
                                    std::uint64_t b = 0, std::uint32_t status = 0, trace::RoutineNumber routine = 0,
                                    trace::ModuleNumber module = 0, trace::Outcome outcome = trace::Outcome::kOk) {
    const Thread& writer = *current_;
    recorder_.write(trace::words_of(kind, writer.irql, writer.number, routine, outcome, module, object, status, a, b));
  }

 private:
  struct RunnableSet {
    std::uint32_t count = 0;
    std::array<ThreadNumber, kThreadsMaximum> members;
  };

  static void fiber_main(void* argument);
  void announce_spawn(Thread& thread);
  void observe_spawn(const Thread& self);
  void announce_suspended_threads();
  void finish_current();
  void add_runnable(Thread& thread);
  void remove_runnable(Thread& thread);
  // Who goes on, with the clock ticking in between as often as it is picked.
  ThreadNumber pick_next();
  // As above, after the clock has been picked.
  ThreadNumber tick_and_pick();
  void tick();
  void tick_early();
  void rest_clock();
  void let_clock_run();
  void plan_check();
  void check_steps();
  // The limit in force.
  std::uint64_t step_limit() const {
    return step_limit_ * std::min(1 + next_fresh_ / kThreadsPerStepLimit, kStepLimitsMaximum);
  }
  void end_at_step_limit();
  void leave(EndReason reason);

  // REQUIRES: at least two are runnable.
  [[gnu::always_inline]] ThreadNumber decide() {
    const ThreadNumber next =
        uniform_bits_ != nullptr
            ? runnable_.members[uniform_bits_->below(runnable_.count)]
            : strategy_->pick({{runnable_.members.data(), runnable_.count}, current_->number, pending_.get()});
    log(next);
    return next;
  }
  [[gnu::always_inline]] void switch_to(Thread& next) {
    Thread& from = *current_;
    current_ = &next;
    write(trace::EventKind::kSwitch, 0, from.number);
    on_stack_ = &next;  // not before: an observer of the event may end the execution
    Fiber::switch_between(from.fiber, next.fiber);
  }
  void log(std::uint16_t value) {
    if (log_.count < kDecisionsMaximum) {
      log_.values[log_.count++] = value;
    }
  }

  trace::Recorder& recorder_;
  DecisionLog& log_;
  Thread* current_ = nullptr;  // in whose name events are written
  Thread* on_stack_ =
      nullptr;  // whose stack is in use; differs from current_ while the clock ticks; null outside run()
  std::uint64_t steps_ = 0;
  std::uint64_t next_check_ = 0;         // when check_steps() is due: the next of the two below, or the step limit
  std::uint64_t next_early_tick_ = 0;    // when there is one more, if they are used up
  std::uint64_t clock_rests_until_ = 0;  // the clock is not runnable before, as long as threads are; 0 for no pause
  std::uint64_t step_limit_ = kStepLimitDefault;
  std::unique_ptr<Thread[]> threads_;
  std::unique_ptr<Operation[]> pending_;
  Strategy* strategy_ = nullptr;
  RandomBits* uniform_bits_ = nullptr;  // the strategy's, if it offers them
  bool notify_ = false;
  EndReason reason_ = EndReason::kAllEnded;
  ThreadNumber next_fresh_ = 1;
  std::uint32_t alive_ = 0;
  RunnableSet runnable_;
  std::vector<ThreadNumber> free_numbers_;
  std::vector<ThreadNumber> idle_waiters_;
  std::size_t idle_waiters_woken_ = 0;  // of them, from the front
  std::uint64_t now_ = 0;
  std::uint32_t early_ticks_left_ = kEarlyTicksMaximum;
  TimerQueue timers_;
  Fiber outside_;
#if defined(NMRFUZZ_FIBER_TSAN)
  std::uint32_t spawn_edges_used_ = 0;
#endif
};

}  // namespace nmrfuzz::schedule
