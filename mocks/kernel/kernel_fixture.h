// kernel_fixture.h - for unit tests: a machine with a simulated kernel, simulated threads with lambdas as bodies, and
// the breaches that they led to.
//
// Nothing ends an execution at a breach here, so a test sees how the routine goes on after it.
// One execution is run(seed, bodies...), or begin(seed), start(body) as often as needed, finish(). Between begin() and
// finish() the test itself may call routines that do not wait, say to initialise objects.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernel/kernel.h"
#include "schedule/random_walk.h"
#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::kernel {

class KernelFixture : public ::testing::Test, private trace::Observer {
 protected:
  static constexpr ModuleNumber kModule = 1;  // whose code the bodies are

  KernelFixture() : previous_(set_current_kernel(&kernel)) {
    recorder.subscribe(*this, {trace::EventKind::kBreach});
    begin(0);
  }
  ~KernelFixture() override { set_current_kernel(previous_); }

  // Forgets the previous execution and prepares the next. `options` and `step_limit` hold until they are changed.
  void begin(std::uint64_t seed) {
    breaches_.clear();
    strategy.begin(seed);
    recorder.reset();
    kernel.reset(options);
    kernel.module(kModule).loaded = true;
    scheduler.reset(strategy, step_limit);
  }
  // Makes a simulated thread. `body` must live until finish() has returned.
  template <class Body>
  ThreadNumber start(const Body& body, std::uint8_t irql = kPassiveLevel) {
    return kernel.spawn(
        schedule::ThreadRole::kSystem,
        [](void* argument) {
          const auto& function = *static_cast<const Body*>(argument);
          current_kernel().call_into(kModule, Routine::ThreadRoutine, [&] { function(); });
        },
        const_cast<Body*>(&body), irql);
  }
  schedule::EndReason finish() { return scheduler.run(); }

  template <class... Bodies>
  schedule::EndReason run(std::uint64_t seed, const Bodies&... bodies) {
    begin(seed);
    (start(bodies), ...);
    return finish();
  }

  // The breaches of this execution so far, in order.
  const std::vector<trace::Event>& breaches() const { return breaches_; }
  std::vector<Outcome> outcomes() const {
    std::vector<Outcome> result;
    result.reserve(breaches_.size());
    for (const trace::Event& breach : breaches_) {
      result.push_back(breach.outcome);
    }
    return result;
  }
  // The breaches of an execution with `body` alone, on a thread that starts at `irql`.
  template <class Body>
  std::vector<Outcome> outcomes_of(const Body& body, std::uint8_t irql = kPassiveLevel) {
    begin(0);
    start(body, irql);
    finish();
    return outcomes();
  }
  // The events of this execution of one kind, of one routine if one is given.
  std::vector<trace::Event> events(trace::EventKind kind, Routine routine = Routine::kNone) const {
    std::vector<trace::Event> result;
    for (std::uint64_t i = recorder.first(); i < recorder.size(); ++i) {
      const trace::Event& event = recorder.at(i);
      if (event.kind == kind &&
          (routine == Routine::kNone || event.routine == static_cast<trace::RoutineNumber>(routine))) {
        result.push_back(event);
      }
    }
    return result;
  }

  Options options;
  std::uint64_t step_limit = schedule::kStepLimitDefault;

 private:
  void on_event(const trace::Event& event) override { breaches_.push_back(event); }

  std::unique_ptr<trace::EventRing> ring_ = std::make_unique<trace::EventRing>();
  std::unique_ptr<schedule::DecisionLog> decisions_ = std::make_unique<schedule::DecisionLog>();
  std::vector<trace::Event> breaches_;

 protected:
  schedule::RandomWalk strategy;
  trace::Recorder recorder{*ring_};
  schedule::Scheduler scheduler{recorder, *decisions_};
  Kernel kernel{scheduler};

 private:
  Kernel* previous_;
};

}  // namespace nmrfuzz::kernel
