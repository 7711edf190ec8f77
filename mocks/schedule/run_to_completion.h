// run_to_completion.h - a thread runs until it blocks or ends; it is never preempted.
//
// The baseline that says what a test without a harness would find: one processor, and luck only in who goes on where
// somebody has to. Who it is is drawn at random; timers fire when nobody can run, or when they are drawn among those
// that a thread lets go first. A defect that it does not find needs a switch at a particular point, or particular
// peers. One exception: a thread that spins gives way, else it would starve whoever ends its waiting, and a module that
// is right would be called livelocked. It spins if it has said kYields times in a row that others should go first, or
// has gone on kPatience times in a row while others could run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "schedule/random_bits.h"
#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class RunToCompletion final : public Strategy {
 public:
  static constexpr std::uint32_t kPatience = 512;
  static constexpr std::uint32_t kYields = 64;

  std::string_view name() const override { return "run-to-completion"; }
  void begin(std::uint64_t seed) override {
    random_ = RandomBits(seed);
    runnable_ = 0;
    last_ = kClock;
    in_a_row_ = 0;
    yields_ = 0;
  }
  ThreadNumber pick(const Choices& choices) override {
    const ThreadNumber current = choices.current;
    const bool can_go_on = std::ranges::find(choices.runnable, current) != choices.runnable.end();
    in_a_row_ = current == last_ ? in_a_row_ + 1 : 0;
    last_ = current;
    const bool gives_way = yields_ >= kYields || in_a_row_ == kPatience;
    if (can_go_on && !gives_way) {
      return current;
    }
    yields_ = 0;
    last_ = kClock;
    return draw(choices.runnable, can_go_on ? current : kClock);
  }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind) override { return random_.below(alternatives); }

  // To know whether there is anybody to whom a thread that yields gives way: if not, pick() is not asked.
  bool wants_notifications() const override { return true; }
  void on_runnable(ThreadNumber) override { ++runnable_; }
  void on_not_runnable(ThreadNumber) override { --runnable_; }
  void on_yield(ThreadNumber thread) override {
    if (thread != kClock) {
      yields_ = runnable_ > 1 ? yields_ + 1 : 0;
    }
  }

 private:
  // One of those besides `left_out`, which need not be one of them. REQUIRES: there is one.
  ThreadNumber draw(std::span<const ThreadNumber> runnable, ThreadNumber left_out) {
    const std::size_t others = runnable.size() - static_cast<std::size_t>(std::ranges::count(runnable, left_out));
    std::uint32_t skip = random_.below(static_cast<std::uint32_t>(others));
    std::size_t position = 0;
    while (runnable[position] == left_out || skip-- != 0) {
      ++position;
    }
    return runnable[position];
  }

  RandomBits random_;
  std::uint32_t runnable_ = 0;  // how many threads, with the clock
  ThreadNumber last_ = kClock;  // who went on last without a draw
  std::uint32_t in_a_row_ = 0;  // how often, beyond the first time
  std::uint32_t yields_ = 0;    // how often in a row it has yielded while somebody else could run
};

}  // namespace nmrfuzz::schedule
