// engine_benchmark.cpp - what one execution costs without modules: engine/three_threads, engine/six_threads.
//
// System threads on one event and one lock, about twenty scheduling points; recorder, hash, pool and reset on; random
// strategy. items_per_second = executions/s. `..._floor`: as many bare fcontext switches as that execution has
// scheduling points on average (measured on the real one).
#include <benchmark/benchmark.h>
#include <ntddk.h>

#include <array>
#include <cstdlib>

#include "stress/engine_fixture.h"
#include "stress/switch_floor.h"

namespace nmrfuzz::stress {
namespace {

// `setters` of `threads` threads set the event, the others wait for it, each after `rounds` times taking the lock. Two
// scheduling points a round, two for setting, one for waiting: 22 with three threads, 20 with six.
struct Shape {
  std::uint32_t threads;
  std::uint32_t rounds;
  std::uint32_t setters;
};
constexpr Shape kThreeThreads = {3, 3, 1};
constexpr Shape kSixThreads = {6, 1, 2};

// What the threads share: a block of pool, as in a driver's device extension.
struct Shared {
  KEVENT event;
  KSPIN_LOCK lock;
  std::uint32_t rounds;
  std::uint32_t setters;
  std::uint32_t started;
  std::uint32_t count;
};

void body(void* argument) {
  auto& shared = *static_cast<Shared*>(argument);
  const std::uint32_t index = shared.started++;
  for (std::uint32_t round = 0; round < shared.rounds; ++round) {
    const KIRQL old = KeAcquireSpinLockRaiseToDpc(&shared.lock);
    ++shared.count;
    KeReleaseSpinLock(&shared.lock, old);
  }
  if (index < shared.setters) {
    KeSetEvent(&shared.event, IO_NO_INCREMENT, FALSE);
  } else {
    KeWaitForSingleObject(&shared.event, Executive, KernelMode, FALSE, nullptr);
  }
}

// One execution. Nothing may be cut short: a benchmark of executions that stop early would lie.
void execute(Engine& engine, const Shape& shape, std::uint64_t seed) {
  constexpr std::uint32_t kTag = 0x6d654245;
  kernel::Pool& pool = engine.kernel().pool();
  std::uint32_t block = 0;
  const schedule::EndReason reason = engine.run(seed, [&](kernel::Kernel& kernel) {
    block = pool.allocate(sizeof(Shared), kTag, kernel::PoolType::kNonPaged, true, 0, engine.recorder().size());
    auto* const shared = static_cast<Shared*>(pool.address(block));
    KeInitializeEvent(&shared->event, NotificationEvent, FALSE);
    KeInitializeSpinLock(&shared->lock);
    shared->rounds = shape.rounds;
    shared->setters = shape.setters;
    for (std::uint32_t i = 0; i < shape.threads; ++i) {
      kernel.spawn(schedule::ThreadRole::kSystem, &body, shared, kernel::kPassiveLevel);
    }
  });
  const auto* const shared = static_cast<const Shared*>(pool.address(block));
  if (reason != schedule::EndReason::kAllEnded || shared->count != shape.threads * shape.rounds) {
    std::abort();
  }
  pool.free(block, engine.recorder().size());
}

void run_executions(benchmark::State& state, const Shape& shape) {
  Engine engine;
  std::uint64_t seed = 0;
  std::uint64_t points = 0;
  std::uint64_t decisions = 0;
  std::uint64_t events = 0;
  for (auto _ : state) {
    execute(engine, shape, ++seed);
    points += engine.scheduler().steps();
    decisions += engine.scheduler().decisions();
    events += engine.recorder().size();
  }
  state.SetItemsProcessed(state.iterations());
  const auto per_execution = [](std::uint64_t total) {
    return benchmark::Counter(static_cast<double>(total), benchmark::Counter::kAvgIterations);
  };
  state.counters["points"] = per_execution(points);
  state.counters["decisions"] = per_execution(decisions);
  state.counters["events"] = per_execution(events);
}

void run_floor(benchmark::State& state, const Shape& shape) {
  constexpr std::uint64_t kSample = 10'000;
  std::uint64_t points = 0;
  {
    Engine engine;
    for (std::uint64_t seed = 1; seed <= kSample; ++seed) {
      execute(engine, shape, seed);
      points += engine.scheduler().steps();
    }
  }
  const std::uint64_t per_execution = (points + kSample / 2) / kSample;
  SwitchFloor floor(shape.threads);
  for (auto _ : state) {
    floor.run(per_execution);
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["points"] = static_cast<double>(per_execution);
}

BENCHMARK_CAPTURE(run_executions, three_threads, kThreeThreads)->Name("engine/three_threads");
BENCHMARK_CAPTURE(run_floor, three_threads, kThreeThreads)->Name("engine/three_threads_floor");
BENCHMARK_CAPTURE(run_executions, six_threads, kSixThreads)->Name("engine/six_threads");
BENCHMARK_CAPTURE(run_floor, six_threads, kSixThreads)->Name("engine/six_threads_floor");

}  // namespace
}  // namespace nmrfuzz::stress
