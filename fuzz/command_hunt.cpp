// `nmrfuzz hunt`: explore the interleavings of modules until the budget ends or something is found.
#include <fmt/core.h>

#include <array>

#include "fuzz/commands.h"
#include "fuzz/exit_status.h"
#include "fuzz/finding_text.h"
#include "fuzz/hunt_from.h"
#include "fuzz/hunt_result.h"
#include "fuzz/interrupt.h"
#include "fuzz/json_output.h"
#include "fuzz/output.h"
#include "fuzz/site_text.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

std::string budget_text(const HuntPlan& plan) {
  std::vector<std::string> parts;
  if (plan.schedules) {
    parts.push_back(fmt::format("{} schedules", *plan.schedules));
  }
  if (plan.seconds) {
    parts.push_back(duration_text(*plan.seconds));
  }
  if (parts.empty()) {
    return "until each failure has been tried";
  }
  return join(parts, " or ");
}

std::string count_text(std::size_t findings) {
  return findings == 0 ? "no finding" : fmt::format("{} finding{}", findings, findings == 1 ? "" : "s");
}

void print_result(std::FILE* out, const ModuleSet& modules, const HuntResult& result) {
  for (const Discovery& discovery : result.discoveries) {
    fmt::print(out, "\n{}", finding_text(discovery));
  }
  fmt::print(out, "{}", sites_text(result.sites));
  const double rate = result.seconds > 0 ? static_cast<double>(result.schedules) / result.seconds : 0;
  fmt::print(out, "\n{}: {} in {} schedules ({:.1f} s, {:.0f}/s){}\n", modules.short_name(),
             count_text(result.discoveries.size()), result.schedules, result.seconds, rate,
             result.interrupted ? ", interrupted" : "");
  if (const std::string cut_short = text_of_cut_short(result); !cut_short.empty()) {
    fmt::print(out, "{}\n", cut_short);
  }
  fmt::print(out, "{}", notes_text(result.notes));
  if (!result.discoveries.empty()) {
    fmt::print(out, "nmrfuzz replay {}\n", result.discoveries.front().file);
  }
}

}  // namespace

int run_hunt(HuntOptions options) {
  HuntPlan& plan = options.plan;
  if (!plan.schedules && !plan.seconds && !plan.sweep_only) {
    plan.seconds = kDefaultHuntSeconds;
  }
  std::string error;
  if (!options.from.empty()) {
    if (const auto wrong = complete_from_reproducer(options)) {
      return refuse(*wrong);
    }
  }
  if (!make_writable_folder(plan.out, error) || !can_write_json(options.json, error)) {
    return refuse(error);
  }
  const std::array variants = {plan.build};
  const auto modules = resolve_modules(options.modules, variants, options.folder, error);
  if (!modules) {
    return refuse(error);
  }
  std::FILE* const out = human_output(options.json);
  std::fputs(modules->diagnostics.c_str(), stderr);
  fmt::print(out, "hunting in {}: strategy {}, seed {}, world {}, faults {}{}, {} build, {}\n", modules->short_name(),
             plan.strategy, plan.seed, world_text(plan.conditions), name_of(plan.conditions.faults),
             plan.conditions.one_peer ? ", peers one" : "", name_of(plan.build), budget_text(plan));
  if (!options.from.empty()) {
    fmt::print(out, "looking near {} for {}\n", options.from, plan.wanted.text());
  }
  std::fflush(out);
  remember_interrupts();
  Progress progress(modules->short_name());
  const HuntResult result = hunt(*modules, plan, progress);
  progress.clear();

  const Outcome outcome = outcome_of(result, modules->short_name());
  if (outcome.status != kUnusable) {
    print_result(out, *modules, result);
    fmt::print(out, "{}", text_of_wanted(plan, result));
    if (!write_json(options.json, run_json(document_of(*modules, plan, result)))) {
      return kUnusable;
    }
  }
  if (!outcome.message.empty()) {
    fmt::print(stderr, "nmrfuzz: {}\n", outcome.message);
  }
  return outcome.status;
}

}  // namespace nmrfuzz::fuzz
