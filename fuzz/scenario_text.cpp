#include "fuzz/scenario_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

using peers::BehaviourField;

constexpr std::array<std::string_view, 3> kMoments = {"at-rest", "at-once", "soon"};

std::string faults_text(const FaultPlan& faults) {
  switch (faults.mode) {
    case FaultMode::kNone:
      return "none";
    case FaultMode::kDrawn:
      return "drawn";
    case FaultMode::kPlanned:
      break;
  }
  return faults.calls[1] == 0 ? fmt::format("call {}", faults.calls[0])
                              : fmt::format("call {} and {}", faults.calls[0], faults.calls[1]);
}

std::string module_text(const ModulePlan& plan) {
  std::string text(kMoments.at(static_cast<std::size_t>(plan.moment)));
  if (plan.moment == UnloadMoment::kSoon) {
    text += fmt::format(" {}", plan.steps);
  }
  if (plan.lives != 1) {
    text += fmt::format(" lives {}", plan.lives);
  }
  return text;
}

std::string peer_text(const PeerPlan& peer) {
  const peers::BehaviourValues values = peers::values_of(peer.behaviour);
  std::string text = std::to_string(peer.npi);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (const BehaviourField& field = peers::kBehaviourFields[i]; values[i] != 0) {
      text += fmt::format(" {}={}", field.name, field.alternatives[values[i]].name);
    }
  }
  return text;
}

// A number from `from` to `to`; nothing if `text` is none.
std::optional<std::uint32_t> number_in(std::string_view text, std::uint32_t from, std::uint32_t to) {
  const auto number = parse_number(text);
  return number && *number >= from && *number <= to ? std::optional(static_cast<std::uint32_t>(*number)) : std::nullopt;
}

std::vector<std::string> words_of(std::string_view value) {
  std::vector<std::string> words;
  for (std::string& word : split(value, ' ')) {
    if (!word.empty()) {
      words.push_back(std::move(word));
    }
  }
  return words;
}

// Sets the moment as "at-rest", "at-once" or "soon STEPS" says; false if the words say none.
bool parse_moment(std::span<const std::string> words, ModulePlan& plan) {
  const auto* const moment = std::find(kMoments.begin(), kMoments.end(), words[0]);
  if (moment == kMoments.end()) {
    return false;
  }
  plan.moment = static_cast<UnloadMoment>(moment - kMoments.begin());
  if (plan.moment != UnloadMoment::kSoon) {
    return words.size() == 1;
  }
  const auto steps = words.size() == 2 ? number_in(words[1], 1, ModulePlan::kSoonMaximum) : std::nullopt;
  plan.steps = static_cast<std::uint8_t>(steps.value_or(0));
  return steps.has_value();
}

// Sets one field as "name=alternative" says. What is wrong with it otherwise.
std::optional<std::string> set_field(peers::BehaviourValues& values, const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string name = assignment.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : assignment.substr(equals + 1);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const BehaviourField& field = peers::kBehaviourFields[i];
    if (field.name != name) {
      names.emplace_back(field.name);
      continue;
    }
    std::vector<std::string> alternatives;
    for (const peers::Alternative& alternative : field.alternatives) {
      if (alternative.name == value) {
        values[i] = static_cast<std::uint8_t>(alternatives.size());
        return std::nullopt;
      }
      alternatives.emplace_back(alternative.name);
    }
    return fmt::format("a peer's {} is '{}', expected one of: {}", name, value, join(alternatives, ", "));
  }
  return fmt::format("'{}' is nothing that a peer does{}", name, suggestion(name, names));
}

}  // namespace

std::string print_scenario(const ShapedScenario& shaped) {
  const Scenario& scenario = shaped.scenario;
  std::string text = fmt::format("npis {}\nworld {}\nfaults {}\n", shaped.shape.npis, nmr::text_of(scenario.world),
                                 faults_text(scenario.faults));
  for (std::size_t i = 0; i < scenario.modules.size(); ++i) {
    text += fmt::format("unload {} {}\n", i + 1, module_text(scenario.modules[i]));
  }
  if (!scenario.preemptions.empty()) {
    text += fmt::format("preempt {}\n", fmt::join(scenario.preemptions, " "));
  }
  for (const PeerPlan& peer : scenario.peers) {
    text += fmt::format("peer {}\n", peer_text(peer));
  }
  return text;
}

std::vector<std::string> oddities_of(const ShapedScenario& shaped) {
  constexpr std::size_t kPeersShown = 4;
  const Scenario& scenario = shaped.scenario;
  std::vector<std::string> odd;
  if (scenario.faults.mode != FaultMode::kNone) {
    odd.push_back(fmt::format("faults {}", faults_text(scenario.faults)));
  }
  for (std::size_t i = 0; i < scenario.modules.size(); ++i) {
    if (scenario.modules[i] != ModulePlan{}) {
      odd.push_back(fmt::format("unload {} {}", i + 1, module_text(scenario.modules[i])));
    }
  }
  if (!scenario.preemptions.empty()) {
    odd.push_back(fmt::format("preempt {}", fmt::join(scenario.preemptions, " ")));
  }
  if (scenario.peers != plain_scenario(shaped.shape).peers) {
    for (std::size_t i = 0; i < std::min(kPeersShown, scenario.peers.size()); ++i) {
      odd.push_back(fmt::format("peer {}", peer_text(scenario.peers[i])));
    }
    if (scenario.peers.empty()) {
      odd.emplace_back("no peers");
    } else if (scenario.peers.size() > kPeersShown) {
      odd.push_back(fmt::format("{} more peers", scenario.peers.size() - kPeersShown));
    }
  }
  return odd;
}

std::span<const ScenarioLines::Line> ScenarioLines::lines() {
  static constexpr Line kLines[] = {{"npis", &ScenarioLines::take_npis},       {"world", &ScenarioLines::take_world},
                                    {"faults", &ScenarioLines::take_faults},   {"unload", &ScenarioLines::take_unload},
                                    {"preempt", &ScenarioLines::take_preempt}, {"peer", &ScenarioLines::take_peer}};
  return kLines;
}

bool ScenarioLines::knows(std::string_view key) {
  return std::any_of(lines().begin(), lines().end(), [key](const Line& line) { return line.key == key; });
}

std::vector<std::string> ScenarioLines::keys() {
  std::vector<std::string> keys;
  for (const Line& line : lines()) {
    keys.emplace_back(line.key);
  }
  return keys;
}

std::optional<std::string> ScenarioLines::take(std::string_view key, std::string_view value) {
  const auto line = std::find_if(lines().begin(), lines().end(), [key](const Line& each) { return each.key == key; });
  return (this->*line->take)(value);
}

std::optional<std::string> ScenarioLines::take_npis(std::string_view value) {
  const auto number = number_in(value, 0, ScenarioShape::kNpisMaximum);
  if (!number || std::exchange(has_npis_, true)) {
    return fmt::format("npis '{}', expected a number up to {}, once", value, ScenarioShape::kNpisMaximum);
  }
  shaped_.shape.npis = *number;
  return std::nullopt;
}

std::optional<std::string> ScenarioLines::take_world(std::string_view value) {
  if (value.empty() || std::exchange(has_world_, true)) {
    return "expected one line 'world windows' or 'world NAME=VARIANT ...'";
  }
  if (value == "windows") {
    return std::nullopt;
  }
  for (const std::string& assignment : words_of(value)) {
    if (auto wrong = nmr::apply(shaped_.scenario.world, assignment)) {
      return wrong;
    }
  }
  return std::nullopt;
}

std::optional<std::string> ScenarioLines::take_faults(std::string_view value) {
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint16_t>::max();
  FaultPlan& faults = shaped_.scenario.faults;
  const std::vector<std::string> words = words_of(value);
  const bool second = std::exchange(has_faults_, true);
  if (!second && words.size() == 1 && (words[0] == "none" || words[0] == "drawn")) {
    faults.mode = words[0] == "none" ? FaultMode::kNone : FaultMode::kDrawn;
    return std::nullopt;
  }
  const bool pair = words.size() == 4 && words[2] == "and";
  if (!second && (words.size() == 2 || pair) && words[0] == "call") {
    const auto first = number_in(words[1], 1, kMost);
    const auto last = pair && first ? number_in(words[3], *first + 1, kMost) : std::optional<std::uint32_t>(0);
    if (first && last) {
      faults = {FaultMode::kPlanned, {static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)}};
      return std::nullopt;
    }
  }
  return fmt::format("faults '{}', expected none, drawn, 'call N' or 'call N and M' with N < M, once", value);
}

std::optional<std::string> ScenarioLines::take_unload(std::string_view value) {
  std::vector<std::string> words = words_of(value);
  std::vector<ModulePlan>& modules = shaped_.scenario.modules;
  const auto next = static_cast<std::uint32_t>(modules.size() + 1);
  ModulePlan plan;
  bool good = words.size() >= 2 && next <= ScenarioShape::kModulesMaximum && number_in(words[0], next, next);
  if (words.size() >= 4 && words[words.size() - 2] == "lives") {
    const auto lives = number_in(words.back(), 1, ModulePlan::kLivesMaximum);
    plan.lives = static_cast<std::uint8_t>(lives.value_or(0));
    good = good && lives;
    words.resize(words.size() - 2);
  }
  if (good && parse_moment(std::span(words).subspan(1), plan)) {
    modules.push_back(plan);
    return std::nullopt;
  }
  return fmt::format(
      "unload '{}', expected '{} at-rest', '{} at-once' or '{} soon STEPS' with STEPS from 1 to {}, then perhaps "
      "'lives "
      "N' with N from 1 to {}",
      value, next, next, next, ModulePlan::kSoonMaximum, ModulePlan::kLivesMaximum);
}

std::optional<std::string> ScenarioLines::take_preempt(std::string_view value) {
  std::vector<std::uint32_t>& preemptions = shaped_.scenario.preemptions;
  const std::vector<std::string> words = words_of(value);
  bool good = preemptions.empty() && !words.empty() && words.size() <= Scenario::kPreemptionsMaximum;
  for (const std::string& word : words) {
    const auto ordinal =
        good ? number_in(word, preemptions.empty() ? 1 : preemptions.back() + 1, Scenario::kOrdinalMaximum)
             : std::nullopt;
    good = ordinal.has_value();
    preemptions.push_back(ordinal.value_or(0));
  }
  return good ? std::nullopt
              : std::optional(fmt::format("preempt '{}', expected up to {} numbers of accesses in ascending order, "
                                          "from 1, once",
                                          value, Scenario::kPreemptionsMaximum));
}

std::optional<std::string> ScenarioLines::take_peer(std::string_view value) {
  const std::vector<std::string> words = words_of(value);
  const auto npi = words.empty() ? std::nullopt : number_in(words[0], 1, ScenarioShape::kNpisMaximum);
  if (!npi) {
    return fmt::format("peer '{}', expected 'NPI NAME=VALUE ...' with an NPI from 1", value);
  }
  peers::BehaviourValues values{};
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (auto wrong = set_field(values, words[i])) {
      return wrong;
    }
  }
  shaped_.scenario.peers.push_back({*npi, peers::behaviour_of(values)});
  return std::nullopt;
}

std::optional<ShapedScenario> ScenarioLines::finish(std::string& error) const {
  ShapedScenario shaped = shaped_;
  shaped.shape.modules = static_cast<std::uint32_t>(shaped.scenario.modules.size());
  if (!has_npis_ || !has_world_ || !has_faults_ || shaped.shape.modules == 0) {
    error = "no whole scenario, expected lines 'npis', 'world', 'faults' and an 'unload' for each module";
    return std::nullopt;
  }
  if (const auto wrong = wrong_with(shaped.scenario, shaped.shape)) {
    error = *wrong;
    return std::nullopt;
  }
  return shaped;
}

std::optional<ShapedScenario> parse_scenario(std::string_view text, std::string& error) {
  ScenarioLines lines;
  std::size_t number = 0;
  for (const std::string& each : split(text, '\n')) {
    ++number;
    const std::string_view line = trim(each);
    if (line.empty() || line.starts_with('#')) {
      continue;
    }
    const std::size_t blank = line.find_first_of(" \t");
    const std::string_view key = line.substr(0, blank);
    const std::string_view value = blank == std::string_view::npos ? "" : trim(line.substr(blank));
    std::optional<std::string> wrong = fmt::format("'{}' is no line of a scenario", key);
    if (ScenarioLines::knows(key)) {
      wrong = lines.take(key, value);
    }
    if (wrong) {
      error = fmt::format("line {}: {}", number, *wrong);
      return std::nullopt;
    }
  }
  return lines.finish(error);
}

}  // namespace nmrfuzz::fuzz
