// seed_benchmark.cpp - what one execution of a real module costs: engine/seed, engine/seed_all_rules.
//
// The corpus's seed-provider: one NPI, one client that leaves its detach pending and completes it from another thread,
// unload when all is at rest. Compiled as for a hunt, with its access checks; module reset, recorder, hash and pool on;
// random schedules. engine/seed judges nothing, engine/seed_all_rules runs every rule. `..._floor`: as many bare
// fcontext switches as the execution has scheduling points on average.
#include <benchmark/benchmark.h>

#include "stress/loaded_module.h"
#include "stress/switch_floor.h"

namespace nmrfuzz::stress {
namespace {

// The module and its executions.
class Seed : public LoadedModule {
 public:
  explicit Seed(bool rules) : LoadedModule("correct/seed-provider.c", {}, rules) {}
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
