#include "fuzz/hunt_from.h"

#include <fmt/core.h>

#include <filesystem>

#include "fuzz/module_set.h"
#include "fuzz/reproducer.h"

namespace nmrfuzz::fuzz {

namespace {

void take_conditions(const Reproducer& reproducer, HuntOptions& options) {
  Conditions& conditions = options.plan.conditions;
  conditions.strict = conditions.strict || reproducer.strict;
  conditions.step_limit = reproducer.step_limit;
  if (!reproducer.hunted_under) {
    conditions.access_points = reproducer.access_points;
    return;
  }
  // A version that knew no access points tells nothing about them: they stay on.
  if (!options.given.world) {
    conditions.any_world = reproducer.hunted_under->any_world;
    conditions.world = reproducer.hunted_under->world;
  }
  if (!options.given.faults) {
    conditions.faults = reproducer.hunted_under->faults;
  }
}

}  // namespace

std::optional<std::string> complete_from_reproducer(HuntOptions& options) {
  std::string error;
  const auto reproducer = read_any_reproducer(options.from, error);
  if (!reproducer) {
    return error;
  }
  std::vector<std::string> given;
  for (const ModuleReference& module : options.modules) {
    given.push_back(module.name);
  }
  auto modules = replaced_modules(*reproducer, given, error);
  if (!modules) {
    return error;
  }
  for (ModuleReference& module : *modules) {
    module.options.insert(module.options.end(), options.compiler_options.begin(), options.compiler_options.end());
  }
  options.modules = std::move(*modules);
  options.folder = std::filesystem::path(options.from).parent_path();
  if (!options.given.build) {
    options.plan.build = reproducer->build;
  }
  take_conditions(*reproducer, options);
  HuntPlan& plan = options.plan;
  plan.wanted = {std::string(contract::name_of(reproducer->kind)), reproducer->rule, reproducer->signature};
  if (!reproducer->hunted_under) {
    plan.near = log_of(*reproducer);
  }
  return std::nullopt;
}

}  // namespace nmrfuzz::fuzz
