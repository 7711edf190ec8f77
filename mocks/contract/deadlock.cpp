#include "contract/deadlock.h"

#include <vector>

#include "contract/history.h"
#include "kernel/routine.h"

namespace nmrfuzz::contract {

using nmr::DetachProgress;
using nmr::Role;
using trace::Event;
using trace::EventKind;
using trace::ObjectNumber;
using trace::ThreadNumber;

namespace {

// A thread that waits.
struct Waiter {
  ThreadNumber thread = 0;
  ObjectNumber object = 0;  // for what
};

class Deadlock {
 public:
  explicit Deadlock(const trace::Recorder& recorder) : recorder_(recorder), history_(recorder) {
    // Of each thread the newest event: those that wait wrote kBlock last. kDeadlock is in the name of whoever ran last.
    std::vector<bool> seen;
    for (std::uint64_t number = recorder.size() - 1; number-- > recorder.first();) {
      const Event& event = recorder.at(number);
      seen.resize(std::max<std::size_t>(seen.size(), event.thread + 1U));
      if (!seen[event.thread] && event.kind == EventKind::kBlock) {
        waiters_.push_back({event.thread, event.object});
      }
      seen[event.thread] = true;
    }
  }

  std::string_view rule() const {
    for (const auto check : {&Deadlock::own_callback_waits, &Deadlock::lock_is_held_across}) {
      for (const Waiter& waiter : waiters_) {
        if (const std::string_view rule = (this->*check)(waiter); !rule.empty()) {
          return rule;
        }
      }
    }
    for (const Waiter& waiter : waiters_) {
      if (const std::string_view rule = callback_waits(waiter); !rule.empty()) {
        return rule;
      }
    }
    return owes_completion() ? "R68" : "";
  }

 private:
  // R104: the wait cannot end before the callback that it is made in has returned.
  std::string_view own_callback_waits(const Waiter& waiter) const {
    const std::optional<Frame> wait = history_.innermost(waiter.thread);
    if (!wait || wait->event.kind != EventKind::kWaitEnter || wait->event.module == 0) {
      return "";
    }
    for (auto frame = history_.innermost(waiter.thread, wait->number); frame;
         frame = history_.innermost(waiter.thread, frame->number)) {
      if (frame->is_callback() &&
          (history_.registration_of(frame->event.object, Role::kClient) == wait->event.object ||
           history_.registration_of(frame->event.object, Role::kProvider) == wait->event.object)) {
        return "R104";
      }
    }
    return "";
  }

  // The event with which a lock was last taken, if nobody has released it since; 0 for what is no lock.
  std::uint64_t taken_at(ObjectNumber object) const {
    const std::uint64_t latest = history_.last(
        [object](const Event& event) { return event.kind == EventKind::kCall && event.object == object; });
    const bool acquires =
        latest != 0 && kernel::row_of(recorder_.at(latest).routine).name.find("Acquire") != std::string_view::npos;
    return acquires && object != 0 ? latest : 0;
  }

  // R105: the holder of the lock that a detach or cleanup callback needs is inside Deregister or a wait.
  std::string_view lock_is_held_across(const Waiter& waiter) const {
    const std::uint64_t taken = taken_at(waiter.object);
    const std::optional<Frame> needs = history_.innermost_callback(waiter.thread);
    if (taken == 0 || !needs || needs->is_attach()) {
      return "";
    }
    const ThreadNumber holder = recorder_.at(taken).thread;
    for (auto frame = history_.innermost(holder); frame && frame->number > taken;
         frame = history_.innermost(holder, frame->number)) {
      if (frame->event.module == needs->event.module &&
          (frame->event.kind == EventKind::kDeregisterEnter || frame->event.kind == EventKind::kWaitEnter)) {
        return "R105";
      }
    }
    return "";
  }

  // A callback that waits for more than a lock: R57, R79, R86.
  std::string_view callback_waits(const Waiter& waiter) const {
    const std::optional<Frame> frame = history_.innermost_callback(waiter.thread);
    if (!frame || taken_at(waiter.object) != 0) {
      return "";
    }
    if (!frame->is_attach()) {
      return frame->is_detach() ? "R79" : "R86";
    }
    // Whoever else waits in the module might be the one that would end this wait, and is the cause then.
    for (const Waiter& other : waiters_) {
      const std::optional<Frame> innermost = history_.innermost(other.thread);
      if (other.thread != waiter.thread && is_in_module(other.thread, frame->event.module) && !innermost) {
        return "";
      }
    }
    return "R57";
  }

  // Whether the thread has run code of the module at all.
  bool is_in_module(ThreadNumber thread, trace::ModuleNumber module) const {
    return history_.any([&](const Event& event) { return event.thread == thread && event.module == module; });
  }

  // A detach of a module under test is pending.
  bool owes_completion() const {
    std::uint32_t pending = 0;
    for (std::uint64_t number = recorder_.first(); number < recorder_.size(); ++number) {
      const Event& event = recorder_.at(number);
      if (event.kind == EventKind::kSideState && event.module != 0) {
        pending += static_cast<DetachProgress>(event.b) == DetachProgress::kPending ? 1U : 0U;
        pending -= static_cast<DetachProgress>(event.a) == DetachProgress::kPending && pending != 0 ? 1U : 0U;
      }
    }
    return pending != 0;
  }

  const trace::Recorder& recorder_;
  History history_;
  std::vector<Waiter> waiters_;
};

}  // namespace

std::string_view deadlock_rule(const trace::Recorder& recorder) { return Deadlock(recorder).rule(); }

}  // namespace nmrfuzz::contract
