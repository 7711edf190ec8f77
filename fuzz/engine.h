// engine.h - one execution after another: modules, peers, registrar, kernel, rules and scheduler put together.
//
// The engine runs in a worker process. The stream and the decisions lie where its creator wants them (memory shared
// with the supervisor), so that whatever kills the process leaves them behind.
// Thread safety: none; one engine at a time in a process (C entry points act on the one in force).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "contract/finding.h"
#include "fuzz/failure_watch.h"
#include "fuzz/scenario.h"
#include "fuzz/scenario_codec.h"
#include "module/image.h"
#include "nmr/world.h"
#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::fuzz {

// What holds for every execution of a hunt; all else is decided, and so recorded, within the execution.
struct Settings {
  bool any_world = true;  // each execution draws its world; else `world` holds in all
  nmr::World world;
  bool faults = true;
  bool one_peer = false;  // exactly one for each NPI; else their number is drawn
  std::uint64_t step_limit = schedule::kStepLimitDefault;
  bool rules = true;            // false: nothing is judged; for benchmarks
  bool strict = false;          // notes are findings
  bool watch_failures = false;  // for failure_sites()
  bool access_points = true;    // the modules' accesses are watched for races, and threads preempted at them
};

// The result of one execution.
struct Execution {
  schedule::EndReason end = schedule::EndReason::kAllEnded;
  std::optional<contract::Finding> finding;
  std::optional<contract::Finding> note;  // the first that this engine has not met before
  std::optional<contract::Finding> race;  // the data race before a graver finding; none if it is the finding
  trace::TraceHash hash = 0;              // at the finding, or at the end
  std::uint64_t events = 0;               // likewise
  std::uint64_t steps = 0;
  std::uint32_t decisions = 0;       // not counting the scenario's
  std::uint32_t fallible_calls = 0;  // of the modules, to routines that can fail
  std::uint32_t registrations = 0;   // successful Register calls of modules under test
  std::uint64_t accesses = 0;        // of the modules, where they are access points
};

// A finding in words, made by repeating its execution.
struct Report {
  std::string kind;
  std::string rule;
  std::string title;
  std::string signature;
  std::vector<std::string> stack;        // of the event where it was found, innermost first: "function file:line"
  std::vector<std::string> cause_stack;  // of the allocation, free or acquisition behind it; may be empty
  std::vector<std::string> events;       // the last events before it, as text
  std::string world;
  std::string place;              // of a data race: what both threads touch
  std::vector<std::string> race;  // in words: of the finding, or of the data race before it; may be empty
};

class Engine {
 public:
  // `images` are loaded and outlive the engine; their order numbers the modules from 1. Runs the probe execution, which
  // learns the NPIs for which peers are made.
  Engine(trace::EventRing& ring, schedule::DecisionLog& decisions, std::span<module::Image* const> images,
         const Settings& settings);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // What the probe saw: an execution of its own, of the plain scenario, without alternatives.
  const Execution& probe() const;
  std::uint32_t npis_provided() const;
  std::uint32_t npis_consumed() const;
  schedule::Estimate estimate() const;
  // What scenarios for these modules are like, and within what they are drawn.
  const ScenarioShape& shape() const;
  const ScenarioLimits& limits() const;

  // Runs one execution decided by `strategy`, begun with `seed`: first its scenario, then the rest. The decision log
  // begins with the scenario's numbers (scenario_codec.h).
  Execution run(schedule::Strategy& strategy, std::uint64_t seed);
  // As above, of a given scenario. REQUIRES: it is one for shape().
  Execution run(schedule::Strategy& strategy, std::uint64_t seed, const Scenario& scenario);

  // Where in the modules the calls were that the latest execution made fail: the first two. Empty unless they are
  // watched.
  std::span<const FailureSite> failure_sites() const;

  // Runs the execution that a decision log decides, as far as it fits these modules. REQUIRES: as describe().
  Execution repeat(std::span<const std::uint16_t> decisions);

  // Repeats the execution that `decisions` decide, with stacks, and says what happened. `finding` as it was found.
  // Empty kind: the repetition came to another verdict (the module's behaviour depends on more than decisions).
  // REQUIRES: they begin with the numbers of a scenario.
  Report describe(std::span<const std::uint16_t> decisions);
  // The same for a note that it made.
  Report describe_note(std::span<const std::uint16_t> decisions, const contract::Finding& note);
  // As above, but each event as a line, for `replay --trace`.
  std::vector<std::string> trace(std::span<const std::uint16_t> decisions);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace nmrfuzz::fuzz
