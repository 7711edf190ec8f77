#include "schedule/scheduler.h"

#include <algorithm>
#include <cstdlib>

namespace nmrfuzz::schedule {

using trace::EventKind;

namespace {

// ThreadSanitizer sees each fiber as a thread and no edge at a switch. Two addresses order executions among themselves:
// one for "the execution starts", one for "it has ended"; a single one would also order the threads within it.
#if defined(NMRFUZZ_FIBER_TSAN)
char execution_start;
char execution_end;
// One for each spawn of an execution. Older ones may come in with it: those executions are over.
char spawn_edges[1U << 16];
void announce_start() { __tsan_release(&execution_start); }
void observe_start() { __tsan_acquire(&execution_start); }
void announce_end() { __tsan_release(&execution_end); }
void observe_end() { __tsan_acquire(&execution_end); }
#else
void announce_start() {}
void observe_start() {}
void announce_end() {}
void observe_end() {}
#endif

}  // namespace

#if defined(NMRFUZZ_FIBER_TSAN)
// Whoever spawns a thread is ordered before it. A timer routine is nobody: whose stack it borrows is chance.
void Scheduler::announce_spawn(Thread& thread) {
  thread.spawn_edge = nullptr;
  if (current_->number != kClock) {
    thread.spawn_edge = &spawn_edges[spawn_edges_used_++ % sizeof spawn_edges];
    __tsan_release(thread.spawn_edge);
  }
}
void Scheduler::observe_spawn(const Thread& self) {
  if (self.spawn_edge != nullptr) {
    __tsan_acquire(self.spawn_edge);
  }
}
// Threads that are left in mid-call cannot say themselves that the execution has ended.
void Scheduler::announce_suspended_threads() {
  for (ThreadNumber number = 1; number < next_fresh_; ++number) {
    if (threads_[number].alive) {
      threads_[number].fiber.release_suspended(outside_, &execution_end);
    }
  }
}
#else
void Scheduler::announce_spawn(Thread&) {}
void Scheduler::observe_spawn(const Thread&) {}
void Scheduler::announce_suspended_threads() {}
#endif

Scheduler::Scheduler(trace::Recorder& recorder, DecisionLog& decisions)
    : recorder_(recorder),
      log_(decisions),
      threads_(new Thread[kThreadsMaximum]),
      pending_(new Operation[kThreadsMaximum]) {
  free_numbers_.reserve(kThreadsMaximum);
  idle_waiters_.reserve(kThreadsMaximum);
  for (std::size_t number = 0; number < kThreadsMaximum; ++number) {
    threads_[number].number = static_cast<ThreadNumber>(number);
    threads_[number].scheduler = this;
    threads_[number].runnable_position = Thread::kNotRunnable;
  }
  threads_[kClock].role = ThreadRole::kClock;
  outside_.adopt_current_thread();
}

void Scheduler::reset(Strategy& strategy, std::uint64_t step_limit) {
  strategy_ = &strategy;
  uniform_bits_ = strategy.uniform_bits();
  notify_ = strategy.wants_notifications();
  step_limit_ = step_limit;
  steps_ = 0;
  log_.count = 0;
  for (ThreadNumber number = 0; number < next_fresh_; ++number) {
    Thread& thread = threads_[number];
    thread.alive = false;
    thread.runnable_position = Thread::kNotRunnable;
    thread.irql = 0;
  }
  runnable_.count = 0;
  free_numbers_.clear();
  idle_waiters_.clear();
  idle_waiters_woken_ = 0;
  next_fresh_ = 1;
  alive_ = 0;
#if defined(NMRFUZZ_FIBER_TSAN)
  spawn_edges_used_ = 0;
#endif
  now_ = 0;
  early_ticks_left_ = kEarlyTicksMaximum;
  next_early_tick_ = kStepsPerEarlyTick;
  clock_rests_until_ = 0;
  next_check_ = std::min(step_limit, next_early_tick_);
  timers_.reset();
  current_ = &threads_[kClock];
  on_stack_ = nullptr;
}

EndReason Scheduler::run() {
  reason_ = EndReason::kAllEnded;
  if (alive_ != 0) {
    announce_start();
    // The clock stands still until the first thread is on its stack: what a timer routine does may end the execution.
    const bool clock_runs = threads_[kClock].runnable_position != Thread::kNotRunnable;
    if (clock_runs) {
      remove_runnable(threads_[kClock]);
    }
    current_ = &threads_[pick_next()];
    if (clock_runs) {
      add_runnable(threads_[kClock]);
    }
    on_stack_ = current_;
    Fiber::switch_between(outside_, current_->fiber);
    announce_suspended_threads();
    observe_end();
  }
  current_ = &threads_[kClock];
  on_stack_ = nullptr;
  return reason_;
}

ThreadNumber Scheduler::spawn(ThreadRole role, ThreadBody body, void* argument, std::uint8_t irql) {
  ThreadNumber number = 0;
  if (!free_numbers_.empty()) {
    number = free_numbers_.back();
    free_numbers_.pop_back();
  } else if (next_fresh_ < kThreadsMaximum) {
    number = next_fresh_++;
  } else {
    end(EndReason::kOutOfThreads);
  }
  Thread& thread = threads_[number];
  thread.body = body;
  thread.argument = argument;
  thread.role = role;
  thread.irql = irql;
  thread.alive = true;
  pending_[number] = {};
  ++alive_;
  if (!thread.parked) {
    thread.fiber.start(&Scheduler::fiber_main, &thread);
    thread.parked = true;
  }
  announce_spawn(thread);
  write(EventKind::kThreadStart, number, static_cast<std::uint64_t>(role));
  if (notify_) {
    strategy_->on_started(number);
  }
  add_runnable(thread);
  return number;
}

// The life of a fiber: one body after the other, parked in finish_current() in between, in this or a later execution.
void Scheduler::fiber_main(void* argument) {
  auto& self = *static_cast<Thread*>(argument);
  for (;;) {
    observe_start();
    self.scheduler->observe_spawn(self);
    self.parked = false;
    self.body(self.argument);
    self.scheduler->finish_current();
  }
}

[[gnu::always_inline]] inline void Scheduler::leave(EndReason reason) {
  reason_ = reason;
  Fiber::switch_between(on_stack_->fiber, outside_);
}

// Returns when the thread's number has been given to a new body.
[[gnu::always_inline]] inline void Scheduler::finish_current() {
  Thread& self = *current_;
  write(EventKind::kThreadEnd, 0);
  announce_end();
  self.alive = false;
  self.parked = true;
  remove_runnable(self);
  free_numbers_.push_back(self.number);
  if (--alive_ == 0) {
    leave(EndReason::kAllEnded);
    return;
  }
  // A timer routine in here may reuse this thread's number, and it may even be picked.
  const ThreadNumber next = pick_next();
  if (next != self.number) {
    switch_to(threads_[next]);
  }
}

void Scheduler::exit_thread() {
  Thread& self = *current_;
  write(EventKind::kThreadEnd, 0);
  announce_end();
  self.alive = false;
  remove_runnable(self);
  // The number is not used again in this execution: its stack is still in use until the switch below.
  if (--alive_ == 0) {
    leave(EndReason::kAllEnded);
  }
  switch_to(threads_[pick_next()]);
  std::abort();  // never resumed
}

void Scheduler::end(EndReason reason) {
  if (on_stack_ == nullptr) {
    std::abort();  // there is no execution to end: the harness spawned or armed too much beforehand
  }
  on_stack_->parked = false;
  announce_end();
  leave(reason);
  std::abort();  // never resumed
}

void Scheduler::yield(const Operation& operation) {
  strategy_->on_yield(current_->number);
  point(operation);
}

void Scheduler::make_runnable(ThreadNumber thread) { add_runnable(threads_[thread]); }

void Scheduler::wait_until_idle() {
  if (idle_waiters_woken_ == idle_waiters_.size()) {
    idle_waiters_.clear();
    idle_waiters_woken_ = 0;
  }
  idle_waiters_.push_back(current_->number);
  block(0);
}

TimerId Scheduler::arm(std::uint64_t due, TimerRoutine routine, void* context, std::uint64_t argument) {
  if (timers_.full()) {
    end(EndReason::kOutOfThreads);
  }
  const bool was_empty = timers_.empty();
  const TimerId timer = timers_.arm(due, routine, context, argument);
  if (was_empty) {
    let_clock_run();
  }
  return timer;
}

bool Scheduler::disarm(TimerId timer) {
  const bool cancelled = timers_.cancel(timer);
  if (cancelled && timers_.empty()) {
    remove_runnable(threads_[kClock]);
  }
  return cancelled;
}

void Scheduler::add_runnable(Thread& thread) {
  if (thread.runnable_position != Thread::kNotRunnable) {
    return;
  }
  thread.runnable_position = static_cast<std::uint16_t>(runnable_.count);
  runnable_.members[runnable_.count++] = thread.number;
  if (notify_) {
    strategy_->on_runnable(thread.number);
  }
}

void Scheduler::remove_runnable(Thread& thread) {
  if (thread.runnable_position == Thread::kNotRunnable) {
    return;
  }
  const ThreadNumber last = runnable_.members[--runnable_.count];
  runnable_.members[thread.runnable_position] = last;
  threads_[last].runnable_position = thread.runnable_position;
  thread.runnable_position = Thread::kNotRunnable;
  if (notify_) {
    strategy_->on_not_runnable(thread.number);
  }
}

ThreadNumber Scheduler::pick_next() {
  for (;;) {
    const std::uint32_t clocks = threads_[kClock].runnable_position != Thread::kNotRunnable ? 1 : 0;
    if (runnable_.count == clocks) {
      if (idle_waiters_woken_ < idle_waiters_.size()) {
        add_runnable(threads_[idle_waiters_[idle_waiters_woken_++]]);
      } else if (!timers_.empty()) {
        tick();
        continue;
      } else {
        write(EventKind::kDeadlock, 0, alive_);
        end(EndReason::kDeadlock);
      }
    }
    const ThreadNumber next = runnable_.count == 1 ? runnable_.members[0] : decide();
    if (next != kClock) {
      return next;
    }
    tick_early();
  }
}

ThreadNumber Scheduler::tick_and_pick() {
  tick_early();
  return pick_next();
}

// A tick although threads could run. They are few: else a periodic timer would leave the threads that it starts behind.
void Scheduler::tick_early() {
  if (--early_ticks_left_ == 0) {
    remove_runnable(threads_[kClock]);
  } else {
    rest_clock();
  }
  tick();
}

// For as long as is decided, so that a timer which is set again and again fires at any moment of an execution, not only
// at its beginning.
void Scheduler::rest_clock() {
  constexpr std::array<std::uint16_t, 6> kPauses = {0, 0, 2, 8, 32, 128};  // in steps
  const std::uint16_t pause = kPauses[choose(kPauses.size(), ChoiceKind::kMoment)];
  if (pause != 0) {
    remove_runnable(threads_[kClock]);
    clock_rests_until_ = steps_ + pause;
    plan_check();
  }
}

// Makes the clock runnable, if a timer is set and may fire early.
void Scheduler::let_clock_run() {
  if (!timers_.empty() && early_ticks_left_ != 0 && clock_rests_until_ == 0) {
    add_runnable(threads_[kClock]);
  }
}

void Scheduler::plan_check() {
  next_check_ = std::min(step_limit(), next_early_tick_);
  if (clock_rests_until_ != 0) {
    next_check_ = std::min(next_check_, clock_rests_until_);
  }
}

void Scheduler::tick() {
  if (++steps_ > step_limit()) {
    end_at_step_limit();
  }
  const TimerQueue::Timer timer = timers_.take_first();
  if (timers_.empty()) {
    remove_runnable(threads_[kClock]);
  }
  if (timer.due > now_) {
    now_ = timer.due;
  }
  Thread* const interrupted = current_;
  current_ = &threads_[kClock];
  write(EventKind::kTimePasses, 0, now_);
  strategy_->on_yield(kClock);
  timer.routine(timer.context, timer.argument);
  current_ = interrupted;
}

void Scheduler::renew_early_ticks() {
  early_ticks_left_ = kEarlyTicksMaximum;
  let_clock_run();
}

void Scheduler::check_steps() {
  if (steps_ > step_limit()) {
    end_at_step_limit();
  }
  if (steps_ > clock_rests_until_) {
    clock_rests_until_ = 0;
  }
  // A thread that polls for what a timer does must see it happen, however many ticks there were before.
  if (steps_ > next_early_tick_) {
    next_early_tick_ = steps_ + kStepsPerEarlyTick;
    early_ticks_left_ = std::max(early_ticks_left_, 1U);
  }
  let_clock_run();
  plan_check();
}

void Scheduler::end_at_step_limit() {
  write(EventKind::kStepLimit, 0, steps_);
  end(EndReason::kStepLimit);
}

}  // namespace nmrfuzz::schedule
