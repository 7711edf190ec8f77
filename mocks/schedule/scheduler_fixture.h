// scheduler_fixture.h - for tests: one scheduler with its recorder and log, and a program that uses all of it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::schedule {

class Machine {
 public:
  Machine() : ring_(new trace::EventRing), log_(new DecisionLog), recorder(*ring_), scheduler(recorder, *log_) {}

  // One execution of what prepare() spawns.
  template <class Prepare>
  EndReason run(Strategy& strategy, std::uint64_t seed, Prepare prepare, std::uint64_t limit = kStepLimitDefault) {
    recorder.reset();
    strategy.begin(seed);
    scheduler.reset(strategy, limit);
    prepare();
    return scheduler.run();
  }

  std::vector<std::uint16_t> decisions() const { return {log_->view().begin(), log_->view().end()}; }
  std::vector<trace::Event> events() const {
    std::vector<trace::Event> all;
    for (std::uint64_t i = recorder.first(); i < recorder.size(); ++i) {
      all.push_back(recorder.at(i));
    }
    return all;
  }
  std::vector<trace::Event> events(trace::EventKind kind) const {
    std::vector<trace::Event> some;
    for (const trace::Event& event : events()) {
      if (event.kind == kind) {
        some.push_back(event);
      }
    }
    return some;
  }

 private:
  std::unique_ptr<trace::EventRing> ring_;
  std::unique_ptr<DecisionLog> log_;

 public:
  trace::Recorder recorder;
  Scheduler scheduler;
};

// Threads that make points, block, wake each other, draw, yield, spawn, arm timers, wait for idleness and exit in
// mid-call; some executions stop before their end, from a thread or from a timer routine. No state survives a run.
class BusyProgram {
 public:
  explicit BusyProgram(Machine& machine) : scheduler_(machine.scheduler) {}

  void prepare() {
    waiting_ = 0;
    done_ = 0;
    for (int i = 0; i < 4; ++i) {
      scheduler_.spawn(ThreadRole::kTest, &worker, this);
    }
    scheduler_.spawn(ThreadRole::kTest, &closer, this);
  }
  // With it, about one execution in three is cut short.
  bool may_stop = true;

 private:
  static BusyProgram& self(void* argument) { return *static_cast<BusyProgram*>(argument); }

  static void worker(void* argument) {
    BusyProgram& program = self(argument);
    Scheduler& scheduler = program.scheduler_;
    scheduler.point({1, Access::kWrite, 1});
    switch (scheduler.choose(6, ChoiceKind::kScenario)) {
      case 0:
        program.wait_for_another();
        break;
      case 1:
        scheduler.spawn(ThreadRole::kSystem, &small, argument);
        break;
      case 2:
        scheduler.arm(scheduler.now() + 10, &timer, argument, scheduler.choose(4, ChoiceKind::kMoment));
        break;
      case 3:
        scheduler.yield({});
        break;
      case 4:
        program.done_ += 1;
        nested_exit(scheduler, 3);
        break;
      default:
        if (program.may_stop && scheduler.choose(4, ChoiceKind::kFault) == 0) {
          scheduler.end(EndReason::kStopped);
        }
    }
    scheduler.point({2, Access::kRead, 1});
    program.done_ += 1;
  }

  static void nested_exit(Scheduler& scheduler, int depth) {
    scheduler.point({});
    if (depth == 0) {
      scheduler.exit_thread();
    } else {
      nested_exit(scheduler, depth - 1);
    }
  }

  void wait_for_another() {
    if (waiting_ != 0) {
      scheduler_.make_runnable(static_cast<ThreadNumber>(waiting_));
    }
    waiting_ = scheduler_.current().number;
    scheduler_.block(9);
  }

  static void small(void* argument) {
    self(argument).scheduler_.point({3, Access::kNone, 0});
    self(argument).scheduler_.point({3, Access::kNone, 0});
  }

  static void timer(void* argument, std::uint64_t what) {
    BusyProgram& program = self(argument);
    if (what == 0 && program.may_stop) {
      program.scheduler_.end(EndReason::kStopped);
    }
    if (what == 1) {
      program.scheduler_.arm(program.scheduler_.now() + 5, &timer, argument, 3);
    }
    program.scheduler_.spawn(ThreadRole::kDpc, &small, argument, 2);
  }

  static void closer(void* argument) {
    BusyProgram& program = self(argument);
    do {
      program.scheduler_.wait_until_idle();
      if (program.waiting_ != 0) {
        program.scheduler_.make_runnable(static_cast<ThreadNumber>(program.waiting_));
        program.waiting_ = 0;
      }
    } while (program.done_ < 4);
  }

  Scheduler& scheduler_;
  std::uint32_t waiting_ = 0;
  std::uint32_t done_ = 0;
};

}  // namespace nmrfuzz::schedule
