#include "fuzz/steering.h"

#include <algorithm>
#include <vector>

#include "fuzz/scenario_codec.h"
#include "race/accesses.h"
#include "schedule/prefix.h"
#include "schedule/random_bits.h"

namespace nmrfuzz::fuzz {

namespace {

// The preemptions before `ordinal`, and one there.
std::vector<std::uint32_t> preempted_at(const std::vector<std::uint32_t>& preemptions, std::uint32_t ordinal) {
  std::vector<std::uint32_t> chosen;
  for (const std::uint32_t each : preemptions) {
    if (each < ordinal && chosen.size() + 1 < Scenario::kPreemptionsMaximum) {
      chosen.push_back(each);
    }
  }
  chosen.push_back(ordinal);
  return chosen;
}

}  // namespace

std::optional<Execution> Steering::search(std::span<const std::uint16_t> log, const contract::Finding& race,
                                          std::uint64_t seed) {
  std::size_t used = 0;
  const auto shaped = decode_scenario(log, used);
  const std::uint64_t later = race::Shape::of(race.event.a).ordinal;
  const std::uint64_t earlier = race.event.b;
  if (!shaped || later > Scenario::kOrdinalMaximum) {
    return std::nullopt;
  }
  racing_ = shaped->scenario;
  answers_.assign(log.begin() + static_cast<std::ptrdiff_t>(used), log.end());
  const std::vector<std::uint16_t> kept(log.begin(), log.end());
  earlier_ = {static_cast<std::uint32_t>(earlier), engine_.answers_before(kept, earlier)};
  later_ = {static_cast<std::uint32_t>(later), engine_.answers_before(kept, later)};
  for (std::uint32_t number = 0; number < kSchedules; ++number) {
    const Execution execution = run(number, schedule::seed_of_schedule(seed, number));
    if (execution.finding && execution.finding->kind != contract::FindingKind::kDataRace) {
      return execution;
    }
  }
  return std::nullopt;
}

// In turn: the earlier access is held back, the later one, or one near by after a beginning of any length.
Execution Steering::run(std::uint32_t number, std::uint64_t seed) {
  schedule::RandomBits bits(seed);
  schedule::Strategy& rest = number % 2 == 0 ? static_cast<schedule::Strategy&>(pct_) : random_;
  Moment moment = number / 2 % 2 == 0 ? earlier_ : later_;
  if (number / 4 % 2 != 0) {
    constexpr std::uint32_t kNear = 12;
    moment.answers = bits.below(static_cast<std::uint32_t>(moment.answers) + 1);
    moment.ordinal = std::max(1U, moment.ordinal + bits.below(2 * kNear) - std::min(kNear, moment.ordinal));
  }
  Scenario scenario = racing_;
  scenario.preemptions = preempted_at(racing_.preemptions, std::min(moment.ordinal, Scenario::kOrdinalMaximum));
  if (number / 8 % 2 != 0) {  // a thread that is held back keeps an unload at rest waiting
    for (ModulePlan& plan : scenario.modules) {
      const std::uint32_t steps = bits.below(ModulePlan::kSoonMaximum + 1U);
      plan.moment = steps == 0 ? UnloadMoment::kAtOnce : UnloadMoment::kSoon;
      plan.steps = static_cast<std::uint8_t>(steps);
    }
  }
  schedule::Prefix prefix(std::span(answers_).first(std::min(moment.answers, answers_.size())), rest);
  return engine_.run(prefix, seed, scenario);
}

}  // namespace nmrfuzz::fuzz
