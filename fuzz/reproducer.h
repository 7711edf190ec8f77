// reproducer.h - one finding as a small text file that replays it: the module, the conditions, every decision.
//
//   nmrfuzz reproducer 3            the version is part of the first line
//   # a comment, anywhere
//   module detach-neither           a corpus module, source files joined by +, or a folder NAME.nmr; one line a module
//   option -Iinclude                of the module above; any number
//   source-hash 0123456789abcdef
//   kind deadlock                   what is found; rule, title and signature may be missing
//   rule R68
//   title ...
//   signature ...
//   trace-hash 0123456789abcdef     over the events up to the finding
//   events 311                      how many these are
//   step-limit 100000
//   strict on                       only if notes were findings
//   needs access-points             conditions that not every version had: see kNeeds in the source
//   found strategy=pct seed=1 schedule=42 build=plain
//   npis 1                          the scenario: this and the lines up to `decisions` (scenario_text.h)
//   world windows
//   faults none
//   unload 1 at-rest
//   peer 1 first-detach=complete-from-dpc
//   decisions 57                    the number; then the answers (decision_text.h), indented, up to
//   end
//
// Keys come once each (but module, option, unload, peer), in any order, up to `decisions`; nothing unknown is skipped
// over. Older versions can be read:
//   2   has no `needs`: accesses were no events
//   1   states no scenario. It has the conditions of its hunt, `world any` and `faults on`; worlds and peers were drawn
//       within its decisions, which therefore cannot be repeated. A hunt can look for its signature.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/finding.h"
#include "fuzz/conditions.h"
#include "fuzz/decision_text.h"
#include "fuzz/scenario.h"
#include "module/variant.h"
#include "nmr/world.h"
#include "schedule/limits.h"

namespace nmrfuzz::fuzz {

// A module as its user names it.
struct ModuleReference {
  std::string name;
  std::vector<std::string> options;  // for the compiler

  bool operator==(const ModuleReference&) const = default;
};

struct Reproducer {
  std::vector<ModuleReference> modules;  // one or more; single lines, as are the texts below
  std::uint64_t source_hash = 0;
  contract::FindingKind kind = contract::FindingKind::kHarnessFault;
  std::string rule;
  std::string title;
  std::string signature;
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t step_limit = schedule::kStepLimitDefault;
  bool strict = false;        // notes are findings
  bool access_points = true;  // as Conditions::access_points
  ShapedScenario scenario;
  // Of version 1 only, in place of the scenario: what was the same in all executions of its hunt.
  std::optional<Conditions> hunted_under;
  std::string strategy;
  std::uint64_t seed = 0;
  std::uint64_t schedule = 0;
  module::Variant build = module::Variant::kPlain;
  Decisions decisions;  // behind the scenario

  bool operator==(const Reproducer&) const = default;
};

// What a worker replays: the scenario's numbers, then the decisions. REQUIRES: it states its scenario.
Decisions log_of(const Reproducer& reproducer);
// Takes a log apart again. False if it does not begin with a scenario.
bool take_log(const Decisions& log, Reproducer& reproducer);

// In the newest version, or in version 1 if it states no scenario.
std::string print(const Reproducer& reproducer);

// nullopt if `text` is not a whole reproducer; `error` is then "FILE:LINE: what, expected what".
std::optional<Reproducer> parse_reproducer(std::string_view text, const std::string& file, std::string& error);

// One that can be repeated. nullopt if the file cannot be read or parsed, or states no scenario.
std::optional<Reproducer> read_reproducer(const std::string& file, std::string& error);
// As above, of any version: one that states no scenario too.
std::optional<Reproducer> read_any_reproducer(const std::string& file, std::string& error);

}  // namespace nmrfuzz::fuzz
