// test_port.h - for tests: the registrar's port of simulated threads, which watches how the registrar uses it and
// breaks it on demand.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "nmr/fiber_port.h"
#include "nmr/mutant.h"

namespace nmrfuzz::nmr {

// What the port of a test shares with its bench.
struct PortWatch {
  Mutant mutant = Mutant::kNone;
  bool locked = false;
  std::uint64_t locks_taken = 0;
  std::uint64_t callbacks_announced = 0;
  std::uint64_t callbacks_made = 0;
  ObjectNumber entered = 0;  // the binding whose callback is being entered
  std::vector<std::string> complaints;

  void expect(bool holds, std::string_view rule, std::string_view complaint) {
    if (!holds && complaints.size() < 20) {
      complaints.push_back(fmt::format("{}: {}", rule, complaint));
    }
  }
};

// The port of simulated threads, which also watches how the registrar uses it, and breaks it on demand.
class TestPort : public FiberPort {
 public:
  TestPort(kernel::Kernel& kernel, PortWatch& watch) : FiberPort(kernel), watch_(&watch) {}

  bool mutant(Mutant mutant) const { return watch_->mutant == mutant; }

  void lock() {
    watch_->expect(!watch_->locked, "G17", "the registrar takes its lock twice");
    watch_->locked = true;
    ++watch_->locks_taken;
  }
  void unlock() { watch_->locked = mutant(Mutant::kKeepsItsLock); }
  void point(Routine routine, ObjectNumber object) {
    expect_unlocked("a scheduling point");
    FiberPort::point(routine, object);
  }
  void park(ObjectNumber& object) {
    watch_->expect(watch_->locked, "G17", "the registrar tests a condition without its lock and then blocks");
    watch_->locked = false;
    FiberPort::park(object);
    watch_->locked = true;
  }
  void wake(ObjectNumber object) {
    if (!mutant(Mutant::kWakesNobody)) {
      FiberPort::wake(object);
    }
  }
  void spawn(schedule::ThreadBody body, void* argument) {
    expect_unlocked("the start of a thread");
    FiberPort::spawn(body, argument);
  }
  void emit(trace::EventKind kind, Routine routine, ObjectNumber object, Status status, std::uint64_t a,
            std::uint64_t b, ModuleNumber module) {
    const bool is_transition = kind == trace::EventKind::kRegistrationState ||
                               kind == trace::EventKind::kBindingState || kind == trace::EventKind::kSideState;
    watch_->expect(!is_transition || watch_->locked, "G17", "a transition is made without the lock");
    if (kind == trace::EventKind::kCallbackEnter) {
      callback_of_ = object;
      ++watch_->callbacks_announced;
    }
    FiberPort::emit(kind, routine, object, status, a, b, module);
  }

  template <class Function>
  Status call(ModuleNumber module, Routine callback, Function function) {
    expect_unlocked("a callback");
    const ObjectNumber binding = callback_of_;  // its entry has just been written
    const bool cleans_up =
        callback == Routine::ClientCleanupBindingContext || callback == Routine::ProviderCleanupBindingContext;
    if ((callback == Routine::ProviderCleanupBindingContext && mutant(Mutant::kNeverCleansUpProvider)) ||
        (callback == Routine::ClientDetachProvider && mutant(Mutant::kNeverCallsDetach))) {
      return kernel::kStatusSuccess;
    }
    const std::uint8_t irql = FiberPort::irql();
    if ((callback == Routine::ClientAttachProvider && mutant(Mutant::kAttachesAtDispatch)) ||
        (cleans_up && mutant(Mutant::kCleansUpAtDispatch))) {
      set_irql(kernel::kDispatchLevel);
    }
    const auto enter = [&] {
      watch_->entered = binding;
      return FiberPort::call(module, callback, function);
    };
    Status status = enter();
    if (cleans_up && mutant(Mutant::kCallsCleanupTwice)) {
      status = enter();
    }
    set_irql(irql);
    return status;
  }

 private:
  void expect_unlocked(std::string_view what) {
    watch_->expect(!watch_->locked, "G17", fmt::format("the registrar holds its lock across {}", what));
  }

  PortWatch* watch_;
  ObjectNumber callback_of_ = 0;
};

}  // namespace nmrfuzz::nmr
