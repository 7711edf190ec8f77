#include "fuzz/nearby.h"

#include <algorithm>

#include "fuzz/scenario_mutation.h"
#include "schedule/prefix.h"
#include "schedule/random_bits.h"
#include "schedule/replay.h"

namespace nmrfuzz::fuzz {

namespace {

enum class Way : std::uint8_t { kPrefix, kScenario, kMutation, kUsual };
constexpr std::uint64_t kWays = 4;

// Schedule 0 is the known execution.
Way way_of(std::uint64_t schedule) { return static_cast<Way>((schedule - 1) % kWays); }
// Which of the schedules of its way it is: each way has all strategies in turn.
std::uint64_t turn_of(std::uint64_t schedule) { return (schedule - 1) / kWays; }

// A length up to `most`: any, or nearly all, since what went wrong mostly began late.
std::size_t draw_length(schedule::RandomBits& bits, std::size_t most) {
  constexpr std::size_t kNearly = 16;
  const auto below = [&bits](std::size_t bound) { return bits.below(static_cast<std::uint32_t>(bound)); };
  return bits.below(2) == 0 ? below(most + 1) : most - below(std::min(most, kNearly) + 1);
}

}  // namespace

Nearby::Nearby(Engine& engine, Exploration& usual, const std::string& strategy, std::span<const std::uint16_t> log)
    : engine_(engine), usual_(usual), strategies_(strategy, engine.estimate()) {
  std::size_t used = 0;
  if (const auto known = decode_scenario(log, used)) {
    scenario_ = fitted(known->scenario, engine.shape());
    // What the hunt is held to goes before what is known.
    if (!engine.limits().any_world) {
      scenario_->world = engine.limits().world;
    }
    if (!engine.limits().faults) {
      scenario_->faults = {};
    }
    answers_.assign(log.begin() + static_cast<std::ptrdiff_t>(used), log.end());
  }
}

Execution Nearby::run(std::uint64_t seed, std::uint64_t schedule) {
  if (!scenario_) {
    return usual_.run(seed, schedule);
  }
  if (schedule == 0) {
    schedule::Replay replay(answers_);
    return engine_.run(replay, 0, *scenario_);
  }
  const std::uint64_t turn = turn_of(schedule);
  const std::uint64_t own_seed = schedule::seed_of_schedule(seed, schedule);
  schedule::RandomBits bits(own_seed + 1);  // not those of the strategy
  schedule::Strategy& rest = strategies_.of_schedule(turn);
  switch (way_of(schedule)) {
    case Way::kPrefix:
      return run_prefix(*scenario_, draw_length(bits, answers_.size()), rest, own_seed);
    case Way::kScenario:
      return run_prefix(*scenario_, 0, rest, own_seed);
    case Way::kMutation:
      return run_mutation(rest, own_seed, bits);
    case Way::kUsual:
      break;
  }
  return usual_.run(seed, turn);
}

Execution Nearby::run_prefix(const Scenario& scenario, std::size_t length, schedule::Strategy& rest,
                             std::uint64_t seed) {
  schedule::Prefix prefix(std::span(answers_).first(length), rest);
  return engine_.run(prefix, seed, scenario);
}

Execution Nearby::run_mutation(schedule::Strategy& rest, std::uint64_t seed, schedule::RandomBits& bits) {
  Scenario mutated = *scenario_;
  mutate_scenario(bits, engine_.limits(), engine_.shape(), mutated);
  const std::size_t length = bits.below(2) == 0 ? 0 : draw_length(bits, answers_.size());
  return run_prefix(mutated, length, rest, seed);
}

std::string Nearby::name_of_schedule(const std::string& strategy, std::uint64_t schedule, bool with_log) {
  if (!with_log) {
    return StrategySet::name_of_schedule(strategy, schedule);
  }
  if (schedule == 0) {
    return "recorded";
  }
  std::string rest = StrategySet::name_of_schedule(strategy, turn_of(schedule));
  switch (way_of(schedule)) {
    case Way::kPrefix:
      return "prefix/" + rest;
    case Way::kScenario:
      return "scenario/" + rest;
    case Way::kMutation:
      return "mutation/" + rest;
    case Way::kUsual:
      break;
  }
  return rest;
}

}  // namespace nmrfuzz::fuzz
