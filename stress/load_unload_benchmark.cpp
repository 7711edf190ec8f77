// load_unload_benchmark.cpp - what a module's whole life costs, by the number of its NPIs: module/load_unload/NAME.
//
// DriverEntry registers N NPIs, a peer attaches to each, a third of them leave and return, DriverUnload deregisters
// all; every peer leaves its detach pending and completes it from another thread. All rules are on; random schedules.
// items_per_second = executions/s; `npis` = NPIs/s. module/load_unload_by_npis fits the time of an execution to a line
// in N: its _BigO is the time an NPI, its _RMS how far the measurements are from that line.
#include <benchmark/benchmark.h>

#include <string>

#include "stress/loaded_module.h"

namespace nmrfuzz::stress {
namespace {

void run_lives(benchmark::State& state, std::int64_t npis) {
  LoadedModule module("correct/many-npi.c", {"-DNPI_COUNT=" + std::to_string(npis)}, true);
  std::uint64_t seed = 0;
  std::uint64_t points = 0;
  std::uint64_t events = 0;
  for (auto _ : state) {
    const fuzz::Execution execution = module.run(++seed);
    points += execution.steps;
    events += execution.events;
  }
  state.SetItemsProcessed(state.iterations());
  state.SetComplexityN(npis);
  state.counters["npis"] = benchmark::Counter(static_cast<double>(npis), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["points"] = benchmark::Counter(static_cast<double>(points), benchmark::Counter::kAvgIterations);
  state.counters["events"] = benchmark::Counter(static_cast<double>(events), benchmark::Counter::kAvgIterations);
}

void run_lives_by_npis(benchmark::State& state) { run_lives(state, state.range(0)); }

BENCHMARK_CAPTURE(run_lives, 1, 1)->Name("module/load_unload/many-npi-1");
BENCHMARK_CAPTURE(run_lives, 8, 8)->Name("module/load_unload/many-npi-8");
BENCHMARK_CAPTURE(run_lives, 64, 64)->Name("module/load_unload/many-npi-64");
BENCHMARK_CAPTURE(run_lives, 512, 512)->Name("module/load_unload/many-npi-512");
BENCHMARK(run_lives_by_npis)
    ->Name("module/load_unload_by_npis")
    ->RangeMultiplier(4)
    ->Range(8, 512)
    ->Complexity(benchmark::oN);

}  // namespace
}  // namespace nmrfuzz::stress
