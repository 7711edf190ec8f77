// fault_sweep.h - which calls fail in which schedules of a sweep: each call that can fail alone, several times over,
// then each two of them.
//
// Calls are known by their number in an execution, counted from 1 in the order in which they are made: the n-th call of
// one schedule may be another one in the next. What was at a site (failure_watch.h) is told apart afterwards.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "fuzz/scenario.h"

namespace nmrfuzz::fuzz {

class FaultSweep {
 public:
  static constexpr std::uint32_t kAlone = 8;            // schedules of each call alone
  static constexpr std::uint32_t kTogether = 2;         // and of each pair
  static constexpr std::size_t kPairsMaximum = 20'000;  // of more pairs, so many are taken, evenly

  // `calls`: how many there are to fail.
  explicit FaultSweep(std::uint32_t calls);

  std::uint64_t size() const { return std::uint64_t{calls_} * kAlone + pairs_.size() * kTogether; }
  std::uint32_t calls() const { return calls_; }
  std::size_t pairs() const { return pairs_.size(); }

  struct Step {
    FaultPlan faults;
    bool plain = false;  // everything else is as in the plain scenario; else it is drawn
  };
  // Nothing behind the end of the sweep.
  std::optional<Step> step(std::uint64_t schedule) const;

 private:
  std::uint32_t calls_;
  std::vector<std::pair<std::uint16_t, std::uint16_t>> pairs_;
};

}  // namespace nmrfuzz::fuzz
