// hunt.h - the supervisor of a hunt: workers run schedules until the budget ends or something is found.
//
// Worker j of n runs the schedules j, j + n, j + 2n, ...; what a schedule does depends on its number alone. When one
// finds something the others go on up to that number, so that the finding of the lowest number wins, whatever n is.
// Where a certain finding is wanted, only that one ends the hunt so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fuzz/conditions.h"
#include "fuzz/module_set.h"
#include "fuzz/progress.h"
#include "fuzz/reproducer.h"
#include "fuzz/wanted.h"
#include "fuzz/worker_message.h"

namespace nmrfuzz::fuzz {

struct HuntPlan {
  module::Variant build = module::Variant::kPlain;
  std::string strategy = "mix";
  std::uint64_t seed = 1;
  Conditions conditions;
  std::optional<std::uint64_t> schedules;
  std::optional<double> seconds;
  unsigned jobs = 1;
  bool keep_going = false;
  bool sweep_only = false;  // ends with the sweep of failures, which conditions.faults asks for
  // Looked for: other findings are collected, but do not end the hunt.
  Wanted wanted;
  Decisions near;   // the log of an execution to look near (nearby.h); empty: none
  std::string out;  // folder for reproducers; exists
};

// One finding, with the reproducer that it was written to.
struct Discovery {
  Reproducer reproducer;
  Report report;
  std::string file;
  std::uint64_t schedules_to_find = 0;
};

// One note: what was observed first, by schedule.
struct Note {
  Report report;
  std::uint64_t schedules_to_find = 0;
  std::uint64_t hash = 0;
};

struct HuntResult {
  std::uint64_t schedules = 0;
  std::uint64_t decisions = 0;
  double seconds = 0;
  std::uint64_t registrations = 0;     // seen in all schedules and the probe
  std::uint64_t cut_short = 0;         // schedules that needed more threads, timers or objects than there are
  std::vector<Discovery> discoveries;  // by schedule; of each signature the first
  std::vector<Note> notes;             // likewise; they are no findings
  std::vector<SiteReport> sites;       // of a sweep: where calls were made to fail, by routine and place
  bool interrupted = false;
  std::string unusable;  // the modules cannot be run: why
  std::string fault;     // nmrfuzz itself failed: how
};

HuntResult hunt(const ModuleSet& modules, const HuntPlan& plan, Progress& progress);

}  // namespace nmrfuzz::fuzz
