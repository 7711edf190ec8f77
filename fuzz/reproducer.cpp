#include "fuzz/reproducer.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "fuzz/scenario_codec.h"
#include "fuzz/scenario_text.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr std::string_view kMagic = "nmrfuzz reproducer ";
constexpr std::uint64_t kVersion = 3;
constexpr std::uint64_t kVersionWithScenario = 2;  // the first that states it
constexpr std::uint64_t kVersionWithNeeds = 3;
constexpr std::size_t kLongestFile = std::size_t{16} << 20;
constexpr std::size_t kColumns = 100;
constexpr std::size_t kModulesMaximum = 16;

// A condition that earlier versions of nmrfuzz did not have: one that does not know it cannot repeat the execution.
struct Need {
  std::string_view name;
  bool Reproducer::* holds;
};
constexpr Need kNeeds[] = {{"access-points", &Reproducer::access_points}};

// Of a byte that a line of text does not have.
bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' && c != '\t'; }

// A text that is one line of the file whatever it contains.
std::string one_line(std::string_view text) {
  std::string line(trim(text));
  std::replace_if(line.begin(), line.end(), is_control, ' ');
  return std::string(trim(line));
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : rest_(text), file_(file) {}

  std::optional<Reproducer> run(std::string& error) {
    if (header() && keys() && answers() && nothing_follows()) {
      return std::move(result_);
    }
    error = std::move(error_);
    return std::nullopt;
  }

 private:
  bool fail(const std::string& what) {
    error_ = fmt::format("{}:{}: {}", file_, line_number_, what);
    return false;
  }

  // The next line that says something, trimmed. False at the end of the text.
  bool next_line() {
    while (!rest_.empty()) {
      const std::size_t end = rest_.find('\n');
      line_ = trim(rest_.substr(0, end));
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      ++line_number_;
      if (!line_.empty() && !line_.starts_with('#')) {
        return true;
      }
    }
    return false;
  }

  bool header() {
    if (!next_line() || !line_.starts_with(kMagic)) {
      line_number_ = 1;
      return fail(fmt::format("not a reproducer, expected the first line '{}{}'", kMagic, kVersion));
    }
    const std::string_view version = trim(line_.substr(kMagic.size()));
    version_ = parse_number(version).value_or(0);
    if (version_ == 0 || version_ > kVersion) {
      return fail(fmt::format("version '{}', expected 1 to {}: made by another nmrfuzz", version, kVersion));
    }
    for (const Need& need : kNeeds) {
      result_.*need.holds = false;
    }
    if (!has_scenario()) {
      result_.hunted_under.emplace();
    }
    return true;
  }

  bool has_scenario() const { return version_ >= kVersionWithScenario; }

  // Up to and with `decisions`.
  bool keys() {
    while (next_line()) {
      const std::size_t blank = line_.find_first_of(" \t");
      const std::string key(line_.substr(0, blank));
      value_ = blank == std::string_view::npos ? "" : trim(line_.substr(blank));
      if (has_scenario() && ScenarioLines::knows(key)) {
        if (const auto wrong = scenario_.take(key, value_)) {
          return fail(*wrong);
        }
        continue;
      }
      if (key != "module" && key != "option" && !seen_.insert(key).second) {
        return fail(fmt::format("'{}' a second time", key));
      }
      if (key == "decisions") {
        return number(count_, schedule::kDecisionsMaximum) && all_there();
      }
      if (!known(key)) {
        return false;
      }
    }
    return fail("the file ends here, expected more: it is truncated");
  }

  bool all_there() {
    if (result_.modules.empty()) {
      return fail("no 'module' line so far, expected one or more");
    }
    for (const char* key : {"source-hash", "kind", "trace-hash", "events", "step-limit", "found"}) {
      if (!seen_.contains(key)) {
        return fail(fmt::format("no '{}' line so far, expected one before 'decisions'", key));
      }
    }
    return has_scenario() ? scenario_is_there() : conditions_are_there();
  }

  bool conditions_are_there() {
    for (const char* key : {"world", "faults"}) {
      if (!seen_.contains(key)) {
        return fail(fmt::format("no '{}' line so far, expected one before 'decisions'", key));
      }
    }
    result_.hunted_under->step_limit = result_.step_limit;
    result_.hunted_under->access_points = false;
    return true;
  }

  bool scenario_is_there() {
    std::string wrong;
    auto scenario = scenario_.finish(wrong);
    if (!scenario) {
      return fail(wrong);
    }
    if (scenario->shape.modules != result_.modules.size()) {
      return fail(fmt::format("{} 'unload' lines, expected one for each of {} modules", scenario->shape.modules,
                              result_.modules.size()));
    }
    result_.scenario = std::move(*scenario);
    return true;
  }

  bool known(const std::string& key) {
    Reproducer& out = result_;
    if (key == "module") {
      return out.modules.size() < kModulesMaximum ? text(out.modules.emplace_back().name)
                                                  : fail(fmt::format("more than {} modules", kModulesMaximum));
    }
    if (key == "option") {
      return out.modules.empty() ? fail("'option' before any 'module'")
                                 : text(out.modules.back().options.emplace_back());
    }
    if (key == "source-hash") return hash(out.source_hash);
    if (key == "kind") return kind();
    if (key == "rule") return text(out.rule);
    if (key == "title") return text(out.title);
    if (key == "signature") return text(out.signature);
    if (key == "trace-hash") return hash(out.trace_hash);
    if (key == "events") return number(out.events, UINT64_MAX);
    if (key == "step-limit") return number(out.step_limit, kStepLimitMaximum);
    if (key == "strict") return strict();
    if (key == "found") return found();
    if (key == "needs" && version_ >= kVersionWithNeeds) return needs();
    if (key == "world" && !has_scenario()) return world_of_hunt();
    if (key == "faults" && !has_scenario()) return faults_of_hunt();
    std::vector<std::string> keys = {"module",     "option", "source-hash", "kind",   "rule",  "title", "signature",
                                     "trace-hash", "events", "step-limit",  "strict", "needs", "found", "decisions"};
    const std::vector<std::string> of_scenario = ScenarioLines::keys();
    keys.insert(keys.end(), of_scenario.begin(), of_scenario.end());
    return fail(fmt::format("unknown key '{}'{}", key, suggestion(key, keys)));
  }

  bool needs() {
    std::vector<std::string> names;
    for (const Need& need : kNeeds) {
      names.emplace_back(need.name);
    }
    for (const std::string& word : split(value_, ' ')) {
      const auto* const need =
          std::find_if(std::begin(kNeeds), std::end(kNeeds), [&word](const Need& each) { return each.name == word; });
      if (need == std::end(kNeeds)) {
        return fail(
            fmt::format("needs '{}', which this nmrfuzz does not have, expected {}: made by a newer one, perhaps", word,
                        join(names, ", ")));
      }
      result_.*need->holds = true;
    }
    return true;
  }

  bool world_of_hunt() {
    const auto wrong = set_world(*result_.hunted_under, value_);
    return !wrong || fail(*wrong);
  }

  bool faults_of_hunt() {
    result_.hunted_under->faults = value_ == "on" ? Faults::kOn : Faults::kOff;
    return value_ == "on" || value_ == "off" || fail(fmt::format("faults '{}', expected on or off", value_));
  }

  bool text(std::string& out) {
    out = value_;
    if (std::any_of(out.begin(), out.end(), is_control)) {
      return fail("a control character, expected text");
    }
    return !out.empty() || fail(fmt::format("'{}' without a value", line_));
  }

  bool hash(std::uint64_t& out) {
    const auto parsed = parse_hash(value_);
    out = parsed.value_or(0);
    return parsed.has_value() || fail(fmt::format("'{}', expected 16 hexadecimal digits", value_));
  }

  bool number(std::uint64_t& out, std::uint64_t most) {
    const auto parsed = parse_number(value_);
    out = parsed.value_or(0);
    return (parsed && *parsed <= most) || fail(fmt::format("'{}', expected a number up to {}", value_, most));
  }

  bool kind() {
    const auto parsed = contract::kind_of_name(value_);
    if (!parsed || *parsed == contract::FindingKind::kHarnessFault) {
      std::vector<std::string> names;
      names.reserve(contract::kFindingKinds);
      for (std::size_t i = 0; i < contract::kFindingKinds; ++i) {
        names.emplace_back(contract::name_of(static_cast<contract::FindingKind>(i)));
      }
      return fail(fmt::format("'{}' is no kind of finding{}", value_, suggestion(value_, names)));
    }
    result_.kind = *parsed;
    return true;
  }

  bool strict() {
    result_.strict = value_ == "on";
    return value_ == "on" || value_ == "off" || fail(fmt::format("strict '{}', expected on or off", value_));
  }

  bool found() {
    std::set<std::string> named;
    for (const std::string& word : split(value_, ' ')) {
      const std::size_t equals = word.find('=');
      const std::string name = word.substr(0, equals);
      const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
      const auto count = parse_number(value);
      const auto build = module::variant_named(value);
      if (name == "strategy" && !value.empty() && std::none_of(value.begin(), value.end(), is_control)) {
        result_.strategy = value;
      } else if (name == "seed" && count) {
        result_.seed = *count;
      } else if (name == "schedule" && count) {
        result_.schedule = *count;
      } else if (name == "build" && build) {
        result_.build = *build;
      } else {
        return fail(fmt::format("'{}', expected strategy=NAME seed=N schedule=N build=NAME", word));
      }
      if (!named.insert(name).second) {
        return fail(fmt::format("'{}' a second time", name));
      }
    }
    return named.size() == 4 || fail("expected strategy=NAME seed=N schedule=N build=NAME, all four");
  }

  bool answers() {
    const std::size_t promised_at = line_number_;
    while (next_line()) {
      if (line_ == "end") {
        return result_.decisions.size() == count_ ||
               fail(fmt::format("{} decisions up to here, expected {} as line {} says", result_.decisions.size(),
                                count_, promised_at));
      }
      std::string wrong;
      if (!parse_decisions(line_, result_.decisions, wrong)) {
        return fail(wrong);
      }
    }
    return fail("the file ends here, expected a line 'end': it is truncated");
  }

  bool nothing_follows() { return !next_line() || fail(fmt::format("'{}' after 'end', expected nothing", line_)); }

  static constexpr std::uint64_t kStepLimitMaximum = 1'000'000'000;

  std::string_view rest_;
  const std::string& file_;
  std::string_view line_;
  std::string_view value_;
  std::size_t line_number_ = 0;
  std::uint64_t version_ = 0;
  std::uint64_t count_ = 0;
  std::set<std::string> seen_;
  ScenarioLines scenario_;
  Reproducer result_;
  std::string error_;
};

}  // namespace

namespace {

std::string needs_text(const Reproducer& reproducer) {
  std::vector<std::string> needed;
  for (const Need& need : kNeeds) {
    if (reproducer.*need.holds) {
      needed.emplace_back(need.name);
    }
  }
  return join(needed, " ");
}

}  // namespace

Decisions log_of(const Reproducer& reproducer) {
  const ShapedScenario& shaped = reproducer.scenario;
  Decisions log(encode_scenario(shaped.scenario, shaped.shape, {}));
  encode_scenario(shaped.scenario, shaped.shape, log);
  log.insert(log.end(), reproducer.decisions.begin(), reproducer.decisions.end());
  return log;
}

bool take_log(const Decisions& log, Reproducer& reproducer) {
  std::size_t used = 0;
  auto scenario = decode_scenario(log, used);
  if (!scenario) {
    return false;
  }
  reproducer.scenario = std::move(*scenario);
  reproducer.decisions.assign(log.begin() + static_cast<std::ptrdiff_t>(used), log.end());
  return true;
}

std::string print(const Reproducer& reproducer) {
  std::string text = fmt::format("{}{}\n", kMagic, reproducer.hunted_under ? 1 : kVersion);
  const auto line = [&text](std::string_view key, std::string_view value) {
    const std::string shown = one_line(value);
    if (!shown.empty()) {
      text += fmt::format("{} {}\n", key, shown);
    }
  };
  for (const ModuleReference& module : reproducer.modules) {
    line("module", module.name);
    for (const std::string& option : module.options) {
      line("option", option);
    }
  }
  line("source-hash", hash_text(reproducer.source_hash));
  line("kind", contract::name_of(reproducer.kind));
  line("rule", reproducer.rule);
  line("title", reproducer.title);
  line("signature", reproducer.signature);
  line("trace-hash", hash_text(reproducer.trace_hash));
  line("events", std::to_string(reproducer.events));
  line("step-limit", std::to_string(reproducer.step_limit));
  line("strict", reproducer.strict ? "on" : "");
  line("needs", needs_text(reproducer));
  if (reproducer.hunted_under) {
    line("world", world_text(*reproducer.hunted_under));
    line("faults", name_of(reproducer.hunted_under->faults));
  }
  line("found", fmt::format("strategy={} seed={} schedule={} build={}", reproducer.strategy, reproducer.seed,
                            reproducer.schedule, module::name_of(reproducer.build)));
  if (!reproducer.hunted_under) {
    text += print_scenario(reproducer.scenario);
  }
  line("decisions", std::to_string(reproducer.decisions.size()));
  if (!reproducer.decisions.empty()) {
    text += print_decisions(reproducer.decisions, "  ", kColumns) + "\n";
  }
  return text + "end\n";
}

std::optional<Reproducer> parse_reproducer(std::string_view text, const std::string& file, std::string& error) {
  if (text.size() > kLongestFile) {
    error = fmt::format("{}: {} bytes, expected a reproducer of at most {}", file, text.size(), kLongestFile);
    return std::nullopt;
  }
  return Parser(text, file).run(error);
}

}  // namespace nmrfuzz::fuzz
