// byte_source.h - decisions from a byte string: what libFuzzer mutates.
//
// One byte a decision, taken modulo the number of alternatives (two bytes above 256). When the string is used up, the
// running thread goes on (fairly: continuation.h) and every choice is its first alternative, so that a short input is a
// plain execution.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "schedule/continuation.h"
#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class ByteSource final : public Strategy {
 public:
  explicit ByteSource(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::string_view name() const override { return "bytes"; }
  void begin(std::uint64_t) override {
    next_ = 0;
    rest_.reset();
  }
  ThreadNumber pick(const Choices& choices) override {
    if (next_ == bytes_.size()) {
      return rest_.pick(choices);
    }
    return choices.runnable[draw(static_cast<std::uint32_t>(choices.runnable.size()))];
  }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind) override { return draw(alternatives); }
  void on_yield(ThreadNumber thread) override { rest_.yield(thread); }

 private:
  std::uint32_t draw(std::uint32_t alternatives) {
    std::uint32_t value = 0;
    for (std::uint32_t range = 1; range < alternatives && next_ < bytes_.size(); range <<= 8) {
      value = (value << 8) | bytes_[next_++];
    }
    return value % alternatives;
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t next_ = 0;
  Continuation rest_;
};

}  // namespace nmrfuzz::schedule
