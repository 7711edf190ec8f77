// steering.h - after a data race: schedules steered at the racing pair, in search of what comes of it.
//
// K. Sen: Race Directed Random Testing of Concurrent Programs, PLDI 2008: a thread that is about to make one of the two
// accesses is held back, so that the other may come first, and what follows is left to chance. Here it is held back by
// a preemption at the access's ordinal, in an execution that repeats the racing one up to there; so the steered
// execution is an ordinary one, with an ordinary reproducer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "fuzz/engine.h"
#include "schedule/pct.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::fuzz {

class Steering {
 public:
  static constexpr std::uint32_t kSchedules = 1000;

  // `engine` outlives it.
  explicit Steering(Engine& engine) : engine_(engine), pct_(0, engine.estimate()) {}

  // Looks for a graver finding near the execution that `log` decides, which ended in `race`. The first one; its
  // decisions are then in the engine's log. A function of its arguments alone.
  std::optional<Execution> search(std::span<const std::uint16_t> log, const contract::Finding& race,
                                  std::uint64_t seed);

 private:
  // One of the two accesses: its ordinal, and how many answers were given before it.
  struct Moment {
    std::uint32_t ordinal = 0;
    std::size_t answers = 0;
  };

  Execution run(std::uint32_t number, std::uint64_t seed);

  Engine& engine_;
  schedule::Pct pct_;
  schedule::RandomWalk random_;
  Scenario racing_;
  std::vector<std::uint16_t> answers_;
  Moment earlier_;
  Moment later_;
};

}  // namespace nmrfuzz::fuzz
