#include "fuzz/hunt_result.h"

#include <fmt/core.h>

#include <algorithm>

#include "fuzz/exit_status.h"
#include "kernel/object.h"
#include "schedule/limits.h"

namespace nmrfuzz::fuzz {

std::string text_of_cut_short(const HuntResult& result) {
  if (result.cut_short == 0) {
    return "";
  }
  return fmt::format(
      "{} of {} schedules were cut short: they needed more than {} threads, {} timers or {} kernel objects at once",
      result.cut_short, result.schedules, schedule::kThreadsMaximum - 1, schedule::kTimersMaximum,
      kernel::ObjectTable::kMaximum - 1);
}

const Discovery* wanted_of(const HuntPlan& plan, const HuntResult& result) {
  const auto found = std::find_if(result.discoveries.begin(), result.discoveries.end(),
                                  [&plan](const Discovery& each) { return plan.wanted.is(each.report); });
  return found == result.discoveries.end() ? nullptr : &*found;
}

std::string text_of_wanted(const HuntPlan& plan, const HuntResult& result) {
  if (!plan.wanted.anything()) {
    return "";
  }
  const Discovery* const discovery = wanted_of(plan, result);
  return discovery == nullptr
             ? fmt::format("{} did not come\n", plan.wanted.text())
             : fmt::format("{} came in schedule {} ({}): nmrfuzz replay {}\n", plan.wanted.text(),
                           discovery->reproducer.schedule, discovery->reproducer.strategy, discovery->file);
}

Outcome outcome_of(const HuntResult& result, const std::string& name) {
  if (!result.unusable.empty()) {
    return {kUnusable, result.unusable};
  }
  if (!result.fault.empty()) {
    return {kHarnessFault, "harness fault: " + result.fault};
  }
  if (!result.discoveries.empty()) {
    return {kFinding, ""};
  }
  if (result.registrations == 0) {
    return {
        kUnusable,
        fmt::format("{} registers nothing with NMR, so nothing was exercised ({} schedules); check that DriverEntry "
                    "calls NmrRegisterProvider or NmrRegisterClient, that it gets that far, and that what it calls "
                    "before succeeds",
                    name, result.schedules)};
  }
  if (result.schedules == 0) {
    return {kUnusable, "no schedule was run: give it more --time or --schedules"};
  }
  if (result.cut_short == result.schedules) {
    return {kUnusable, text_of_cut_short(result)};
  }
  return {kClean, ""};
}

RunDocument document_of(const ModuleSet& modules, const HuntPlan& plan, const HuntResult& result) {
  RunDocument document;
  document.modules = modules.names();
  document.strategy = plan.strategy;
  document.seed = plan.seed;
  document.world = world_text(plan.conditions);
  document.wanted = plan.wanted.text();
  document.wanted_came = wanted_of(plan, result) != nullptr;
  document.schedules = result.schedules;
  document.decisions = result.decisions;
  document.seconds = result.seconds;
  document.findings = result.discoveries;
  document.notes = result.notes;
  document.sites = result.sites;
  return document;
}

}  // namespace nmrfuzz::fuzz
