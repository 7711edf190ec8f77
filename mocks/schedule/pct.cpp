#include "schedule/pct.h"

#include <algorithm>
#include <bit>

#include "schedule/limits.h"

namespace nmrfuzz::schedule {

namespace {
constexpr std::uint16_t kNoPriority = 0xffff;
constexpr std::uint32_t kPatienceMinimum = 512;
}  // namespace

Pct::Pct(std::uint32_t depth, const Estimate& estimate)
    : depth_(depth),
      estimate_(estimate),
      patience_(std::max(kPatienceMinimum, 4 * std::min(estimate.decisions, 1U << 20))),
      priority_of_(kThreadsMaximum, kNoPriority),
      thread_at_(kPriorities, 0),
      taken_(kPriorities, false),
      runnable_(kThreadsMaximum, false) {}

void Pct::begin(std::uint64_t seed) {
  random_ = RandomBits(seed);
  step_ = 0;
  in_a_row_ = 0;
  picked_ = kClock;
  next_low_ = kChange;
  forget_priorities();
  draw_change_points();
}

// Looks only at threads of the previous execution.
void Pct::forget_priorities() {
  for (ThreadNumber thread = 0; thread < thread_limit_; ++thread) {
    if (const std::uint16_t priority = priority_of_[thread]; priority != kNoPriority) {
      taken_[priority] = false;
      marks_[priority / 64] = 0;
      priority_of_[thread] = kNoPriority;
    }
    runnable_[thread] = false;
  }
  summary_.fill(0);
  thread_limit_ = 0;
}

void Pct::draw_change_points() {
  const std::uint32_t depth = depth_ != 0 ? std::min(depth_, kDepthMaximum) : 2 + random_.below(3);
  const std::uint32_t scale = random_.below(3);  // half, once, twice the estimate
  const std::uint32_t steps = std::max<std::uint32_t>(2, (std::max(1U, estimate_.decisions) << scale) / 2);
  change_count_ = depth - 1;
  next_change_ = 0;
  for (std::uint32_t i = 0; i < change_count_; ++i) {
    change_points_[i] = {1 + random_.below(steps), kChange + i};
  }
  std::sort(change_points_.begin(), change_points_.begin() + change_count_,
            [](const ChangePoint& a, const ChangePoint& b) {
              return a.step != b.step ? a.step < b.step : a.priority < b.priority;
            });
}

ThreadNumber Pct::pick(const Choices& choices) {
  ++step_;
  for (; next_change_ < change_count_ && change_points_[next_change_].step <= step_; ++next_change_) {
    if (runnable_[choices.current]) {
      set_priority(choices.current, change_points_[next_change_].priority);
    }
  }
  const ThreadNumber next = highest();
  in_a_row_ = next == picked_ ? in_a_row_ + 1 : 0;
  picked_ = next;
  if (in_a_row_ < patience_) {
    return next;
  }
  in_a_row_ = 0;
  demote(next);
  picked_ = highest();
  return picked_;
}

void Pct::on_started(ThreadNumber thread) {
  if (priority_of_[thread] != kNoPriority) {  // a reused thread number is a new thread
    taken_[priority_of_[thread]] = false;
    priority_of_[thread] = kNoPriority;
  }
  std::uint32_t priority = kInitial + random_.below(kPriorities - kInitial);
  while (taken_[priority]) {
    priority = priority + 1 == kPriorities ? kInitial : priority + 1;
  }
  set_priority(thread, priority);
}

void Pct::on_runnable(ThreadNumber thread) {
  if (priority_of_[thread] == kNoPriority) {
    on_started(thread);  // the clock is armed for the first time
  }
  runnable_[thread] = true;
  mark(priority_of_[thread]);
}

void Pct::on_not_runnable(ThreadNumber thread) {
  runnable_[thread] = false;
  unmark(priority_of_[thread]);
}

void Pct::set_priority(ThreadNumber thread, std::uint32_t priority) {
  if (priority_of_[thread] != kNoPriority) {
    taken_[priority_of_[thread]] = false;
    if (runnable_[thread]) {
      unmark(priority_of_[thread]);
    }
  }
  priority_of_[thread] = static_cast<std::uint16_t>(priority);
  thread_limit_ = std::max(thread_limit_, static_cast<ThreadNumber>(thread + 1));
  thread_at_[priority] = thread;
  taken_[priority] = true;
  if (runnable_[thread]) {
    mark(priority);
  }
}

void Pct::demote(ThreadNumber thread) {
  if (next_low_ == 0) {
    compact_demoted();
  }
  set_priority(thread, --next_low_);
}

// The low band has been handed out to its end: moves the demoted threads up again, in their order. At most
// kThreadsMaximum < kChange threads exist, so this happens at most once in kChange - kThreadsMaximum demotions.
void Pct::compact_demoted() {
  std::uint32_t target = kChange;
  for (std::uint32_t priority = kChange; priority-- > 0;) {
    if (taken_[priority]) {
      const ThreadNumber thread = thread_at_[priority];
      --target;
      if (target != priority) {
        set_priority(thread, target);
      }
    }
  }
  next_low_ = target;
}

void Pct::mark(std::uint32_t priority) {
  marks_[priority / 64] |= std::uint64_t{1} << (priority % 64);
  summary_[priority / 64 / 64] |= std::uint64_t{1} << (priority / 64 % 64);
}

void Pct::unmark(std::uint32_t priority) {
  marks_[priority / 64] &= ~(std::uint64_t{1} << (priority % 64));
  if (marks_[priority / 64] == 0) {
    summary_[priority / 64 / 64] &= ~(std::uint64_t{1} << (priority / 64 % 64));
  }
}

ThreadNumber Pct::highest() const {
  std::size_t top = summary_.size() - 1;
  while (summary_[top] == 0) {  // somebody is runnable
    --top;
  }
  const auto word =
      static_cast<std::uint32_t>(64 * top + 63 - static_cast<std::size_t>(std::countl_zero(summary_[top])));
  const auto bit = static_cast<std::uint32_t>(63 - std::countl_zero(marks_[word]));
  return thread_at_[word * 64 + bit];
}

}  // namespace nmrfuzz::schedule
