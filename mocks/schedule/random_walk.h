// random_walk.h - uniform random choice among the runnable threads at every scheduling point.
//
// The baseline that every other strategy is measured against. A defect that needs d ordered switches at particular
// points among n threads shows with a probability of about n^-(points between them).
#pragma once

#include "schedule/random_bits.h"
#include "schedule/strategy.h"

namespace nmrfuzz::schedule {

class RandomWalk final : public Strategy {
 public:
  std::string_view name() const override { return "random"; }
  void begin(std::uint64_t seed) override { random_ = RandomBits(seed); }
  ThreadNumber pick(const Choices& choices) override {
    return choices.runnable[random_.below(static_cast<std::uint32_t>(choices.runnable.size()))];
  }
  RandomBits* uniform_bits() override { return &random_; }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind) override { return random_.below(alternatives); }

 private:
  RandomBits random_;
};

}  // namespace nmrfuzz::schedule
