// prefix.h - repeats the beginning of a known execution, then lets another strategy decide: what is near that
// execution.
//
// The repetition ends after the given answers, or earlier, at the first that is impossible: the module is then not the
// one of the recording, and what is left of the answers says nothing any more.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class Prefix final : public Strategy {
 public:
  // `answers`: of a decision log, behind its scenario. Both must outlive the strategy.
  Prefix(std::span<const std::uint16_t> answers, Strategy& rest) : answers_(answers), rest_(rest) {}

  std::string_view name() const override { return rest_.name(); }
  // The seed is the rest's.
  void begin(std::uint64_t seed) override {
    next_ = 0;
    end_ = answers_.size();
    rest_.begin(seed);
  }
  ThreadNumber pick(const Choices& choices) override {
    if (next_ < end_) {
      const auto thread = static_cast<ThreadNumber>(answers_[next_]);
      if (std::find(choices.runnable.begin(), choices.runnable.end(), thread) != choices.runnable.end()) {
        ++next_;
        return thread;
      }
      end_ = next_;
    }
    return rest_.pick(choices);
  }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind kind) override {
    if (next_ < end_) {
      const std::uint32_t value = answers_[next_];
      if (value < alternatives) {
        ++next_;
        return value;
      }
      end_ = next_;
    }
    return rest_.choose(alternatives, kind);
  }

  // The rest has to know the threads when its turn comes.
  bool wants_notifications() const override { return rest_.wants_notifications(); }
  void on_runnable(ThreadNumber thread) override { rest_.on_runnable(thread); }
  void on_not_runnable(ThreadNumber thread) override { rest_.on_not_runnable(thread); }
  void on_started(ThreadNumber thread) override { rest_.on_started(thread); }
  void on_yield(ThreadNumber thread) override { rest_.on_yield(thread); }

  // How many answers were repeated.
  std::size_t used() const { return next_; }

 private:
  std::span<const std::uint16_t> answers_;
  Strategy& rest_;
  std::size_t next_ = 0;
  std::size_t end_ = 0;  // of the answers that are repeated
};

}  // namespace nmrfuzz::schedule
