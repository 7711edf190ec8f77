// pct.h - probabilistic concurrency testing.
//
// S. Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of
// Finding Bugs, ASPLOS 2010. Each thread gets a random priority, the highest runnable one always runs, and at d - 1
// random steps the running thread's priority drops to one of d - 1 values below all the initial ones, each used once
// and in random order. A defect of depth d in an execution of n threads and k steps is found with a probability of at
// least 1 / (n * k^(d-1)).
//
// Departures: (1) n and k are an estimate from the probe execution, and k is scaled by a power of two drawn from the
// seed, since executions of one module differ in length with what the peers do; (2) a thread that yields, and the clock
// after each tick, drops below everybody, since a spin loop or a periodic timer at the top would starve the rest for
// ever, and so does one that was picked several times the length of the execution in a row, since a spin loop need
// not say that it is one; (3) steps are counted where there is something to decide.
// By (1) a change point hits one particular step of the first half of an execution of k steps with a probability of
// (2 + 1 + 1/2) / 3k, of the second half with (1 + 1/2) / 3k: at worst half of the paper's 1/k.
// The runnable thread of highest priority is found in a bit set of two levels: no scan over threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "schedule/limits.h"
#include "schedule/random_bits.h"
#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class Pct final : public Strategy {
 public:
  static constexpr std::uint32_t kDepthMaximum = 8;

  // `depth` = d >= 1, the number of ordering constraints to satisfy; 0 draws one of 2, 3, 4 for each execution.
  Pct(std::uint32_t depth, const Estimate& estimate);

  std::string_view name() const override { return "pct"; }
  void begin(std::uint64_t seed) override;
  ThreadNumber pick(const Choices& choices) override;
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind) override { return random_.below(alternatives); }

  bool wants_notifications() const override { return true; }
  void on_started(ThreadNumber thread) override;
  void on_runnable(ThreadNumber thread) override;
  void on_not_runnable(ThreadNumber thread) override;
  void on_yield(ThreadNumber thread) override { demote(thread); }

 private:
  // Priorities are unique: 0 .. kChange - 1 for threads that yielded, handed out downwards; kChange .. kInitial - 1 for
  // change points, one each; kInitial .. kPriorities - 1 for the initial, random ones.
  // Either band holds every thread twice over.
  static constexpr std::uint32_t kChange = 2 * kThreadsMaximum;
  static constexpr std::uint32_t kPriorities = 2 * kChange;
  static constexpr std::uint32_t kInitial = kChange + kDepthMaximum;
  struct ChangePoint {
    std::uint32_t step = 0;
    std::uint32_t priority = 0;
  };

  void set_priority(ThreadNumber thread, std::uint32_t priority);
  void demote(ThreadNumber thread);
  void compact_demoted();
  void mark(std::uint32_t priority);
  void unmark(std::uint32_t priority);
  ThreadNumber highest() const;
  void forget_priorities();
  void draw_change_points();

  std::uint32_t depth_;
  Estimate estimate_;
  RandomBits random_;
  std::uint32_t step_ = 0;
  std::uint32_t patience_;  // how often one thread may be picked in a row
  std::uint32_t in_a_row_ = 0;
  ThreadNumber picked_ = 0;
  std::uint32_t next_change_ = 0;  // index into change_points_
  std::uint32_t change_count_ = 0;
  std::array<ChangePoint, kDepthMaximum> change_points_{};  // by step
  std::uint32_t next_low_ = kChange;

  std::vector<std::uint16_t> priority_of_;  // by thread number; 0xffff = none
  std::vector<ThreadNumber> thread_at_;     // by priority
  std::vector<bool> taken_;                 // by priority
  std::vector<bool> runnable_;              // by thread number
  ThreadNumber thread_limit_ = 0;           // one more than the highest number that has had a priority
  static constexpr std::uint32_t kMarks = kPriorities / 64;
  std::array<std::uint64_t, kMarks> marks_{};         // bit p set: the thread at priority p is runnable
  std::array<std::uint64_t, kMarks / 64> summary_{};  // bit w set: marks_[w] != 0
};

}  // namespace nmrfuzz::schedule
