// replay.h - answers every question as a decision log did: what a reproducer contains.
//
// Where the log has ended, or its next answer is impossible, the running thread goes on (fairly: continuation.h) and
// every choice is its first alternative; an impossible answer stays next.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "schedule/continuation.h"
#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class Replay final : public Strategy {
 public:
  // `decisions` must outlive the strategy.
  explicit Replay(std::span<const std::uint16_t> decisions) : decisions_(decisions) {}

  std::string_view name() const override { return "replay"; }
  void begin(std::uint64_t) override {
    next_ = 0;
    diverged_ = false;
    rest_.reset();
  }
  ThreadNumber pick(const Choices& choices) override {
    if (next_ < decisions_.size()) {
      const auto thread = static_cast<ThreadNumber>(decisions_[next_]);
      if (std::find(choices.runnable.begin(), choices.runnable.end(), thread) != choices.runnable.end()) {
        ++next_;
        return thread;
      }
      diverged_ = true;
    }
    return rest_.pick(choices);
  }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind) override {
    if (next_ < decisions_.size()) {
      const std::uint32_t value = decisions_[next_];
      if (value < alternatives) {
        ++next_;
        return value;
      }
      diverged_ = true;
    }
    return 0;
  }

  void on_yield(ThreadNumber thread) override { rest_.yield(thread); }

  // A recorded answer was not among the alternatives: the module or the mocks are not those of the recording.
  bool diverged() const { return diverged_; }
  // How many recorded answers were used.
  std::size_t used() const { return next_; }

 private:
  std::span<const std::uint16_t> decisions_;
  std::size_t next_ = 0;
  bool diverged_ = false;
  Continuation rest_;
};

}  // namespace nmrfuzz::schedule
