// engine_fixture.h - everything that one execution needs, without modules and rules: what engine benchmarks run on.
//
// Thread safety: none. One at a time in a process: the pool has a fixed address.
// The large parts are on the heap once; nothing is allocated between two executions.
#pragma once

#include <cstdint>
#include <memory>

#include "kernel/kernel.h"
#include "schedule/random_walk.h"
#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::stress {

class Engine {
 public:
  Engine()
      : ring_(new trace::EventRing),
        decisions_(new schedule::DecisionLog),
        recorder_(*ring_),
        scheduler_(recorder_, *decisions_),
        kernel_(new kernel::Kernel(scheduler_)) {
    previous_ = kernel::set_current_kernel(kernel_.get());
  }
  ~Engine() { kernel::set_current_kernel(previous_); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // One execution under random schedule `seed`: resets everything, lets prepare(kernel) create objects and threads, and
  // runs to the end.
  template <class Prepare>
  schedule::EndReason run(std::uint64_t seed, Prepare prepare) {
    recorder_.reset();
    strategy_.begin(seed);
    scheduler_.reset(strategy_);
    kernel_->reset({});
    prepare(*kernel_);
    return scheduler_.run();
  }

  trace::Recorder& recorder() { return recorder_; }
  schedule::Scheduler& scheduler() { return scheduler_; }
  kernel::Kernel& kernel() { return *kernel_; }

 private:
  std::unique_ptr<trace::EventRing> ring_;
  std::unique_ptr<schedule::DecisionLog> decisions_;
  trace::Recorder recorder_;
  schedule::RandomWalk strategy_;
  schedule::Scheduler scheduler_;
  std::unique_ptr<kernel::Kernel> kernel_;
  kernel::Kernel* previous_ = nullptr;
};

}  // namespace nmrfuzz::stress
