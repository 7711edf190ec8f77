// seed_benchmark.cpp - what one execution of a real module costs: engine/seed, engine/seed_all_rules.
//
// The corpus's seed-provider: one NPI, one client that leaves its detach pending and completes it from another thread,
// unload when all is at rest. Compiled as for a hunt, with its access checks; module reset, recorder, hash and pool on;
// random schedules. engine/seed judges nothing, engine/seed_all_rules runs every rule. `..._floor`: as many bare
// fcontext switches as the execution has scheduling points on average.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <variant>

#include "fuzz/engine.h"
#include "fuzz/scenario.h"
#include "module/compile.h"
#include "module/image.h"
#include "nmrfuzz_config.h"
#include "schedule/random_walk.h"
#include "stress/switch_floor.h"

namespace nmrfuzz::stress {
namespace {

// The module, loaded, and the memory of its executions.
class Seed {
 public:
  explicit Seed(bool rules) : ring_(new trace::EventRing), decisions_(new schedule::DecisionLog) {
    module::BuildRequest request;
    request.sources = {std::string(NMRFUZZ_SOURCE_DIR) + "/corpus/modules/correct/seed-provider.c"};
    request.variants = {variant()};
    auto built = module::build(request);
    if (const auto* const failure = std::get_if<module::BuildFailure>(&built)) {
      give_up(failure->message);
    }
    auto loaded = module::Image::load(std::get<module::Build>(built).shared_object(variant()));
    if (const auto* const failure = std::get_if<module::LoadFailure>(&loaded)) {
      give_up(failure->message);
    }
    image_ = std::move(std::get<std::unique_ptr<module::Image>>(loaded));
    fuzz::Settings settings;
    settings.any_world = false;
    settings.faults = false;
    settings.rules = rules;
    module::Image* const images[] = {image_.get()};
    engine_ = std::make_unique<fuzz::Engine>(*ring_, *decisions_, images, settings);
    scenario_ = fuzz::plain_scenario(engine_->shape());
    scenario_.peers.at(0).behaviour.first_detach = peers::Detach::kCompleteFromThread;
  }

  fuzz::Execution run(std::uint64_t seed) {
    fuzz::Execution execution = engine_->run(strategy_, seed, scenario_);
    if (execution.finding || execution.end != schedule::EndReason::kAllEnded) {
      give_up("an execution of a correct module did not end well");
    }
    return execution;
  }

 private:
  static module::Variant variant() { return module::variant_named(NMRFUZZ_VARIANT).value_or(module::Variant::kPlain); }
  [[noreturn]] static void give_up(const std::string& message) {
    std::fprintf(stderr, "nmrfuzz-bench: engine/seed: %s\n", message.c_str());
    std::exit(3);
  }

  std::unique_ptr<trace::EventRing> ring_;
  std::unique_ptr<schedule::DecisionLog> decisions_;
  fuzz::Scenario scenario_;
  schedule::RandomWalk strategy_;
  std::unique_ptr<module::Image> image_;
  std::unique_ptr<fuzz::Engine> engine_;
};

void run_seed(benchmark::State& state, bool rules) {
  Seed seed(rules);
  std::uint64_t number = 0;
  std::uint64_t points = 0;
  std::uint64_t events = 0;
  for (auto _ : state) {
    const fuzz::Execution execution = seed.run(++number);
    points += execution.steps;
    events += execution.events;
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["points"] = benchmark::Counter(static_cast<double>(points), benchmark::Counter::kAvgIterations);
  state.counters["events"] = benchmark::Counter(static_cast<double>(events), benchmark::Counter::kAvgIterations);
}

void run_seed_floor(benchmark::State& state) {
  constexpr std::uint64_t kSample = 10'000;
  std::uint64_t points = 0;
  {
    Seed seed(false);
    for (std::uint64_t number = 1; number <= kSample; ++number) {
      points += seed.run(number).steps;
    }
  }
  const std::uint64_t per_execution = (points + kSample / 2) / kSample;
  constexpr std::size_t kThreads = 4;  // stage and loader, peer, the peer's completion, the caller
  SwitchFloor floor(kThreads);
  for (auto _ : state) {
    floor.run(per_execution);
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["points"] = static_cast<double>(per_execution);
}

BENCHMARK_CAPTURE(run_seed, seed, false)->Name("engine/seed");
BENCHMARK_CAPTURE(run_seed, seed_all_rules, true)->Name("engine/seed_all_rules");
BENCHMARK(run_seed_floor)->Name("engine/seed_floor");

}  // namespace
}  // namespace nmrfuzz::stress
