// deferred_work.cpp - the work of a thread lives in its ThreadState; whoever waits for work to end looks at all
// threads.
#include "kernel/deferred_work.h"

#include "kernel/mutant.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using schedule::ThreadRole;
using trace::EventKind;

void forget(Kernel& kernel, ThreadRole role, Work& work) {
  work = {};
  if (role == ThreadRole::kDpc) {
    --kernel.active_dpcs();
  }
  if (const ObjectNumber gate = kernel.groups().work_done; gate != 0) {
    kernel.wake_all(gate);
  }
}

// Whether a thread of `role` has work with a number up to `last`, of `object` unless that is 0.
bool is_outstanding(Kernel& kernel, ThreadRole role, std::uint64_t last, ObjectNumber object) {
  const schedule::Scheduler& scheduler = kernel.scheduler();
  for (ThreadNumber thread = 1; thread < scheduler.thread_limit(); ++thread) {
    const Work& work = kernel.thread_state(thread).work;
    if (work.object != 0 && work.number <= last && scheduler.thread(thread).role == role &&
        (object == 0 || work.object == object)) {
      return true;
    }
  }
  return false;
}

}  // namespace

ThreadNumber queue_work(Kernel& kernel, Routine callback, ThreadRole role, schedule::ThreadBody body, Work work,
                        std::uint8_t irql) {
  work.number = ++kernel.groups().work_queued;
  const ThreadNumber thread = kernel.spawn(role, body, nullptr, irql);
  kernel.thread_state(thread).work = work;
  kernel.scheduler().announce(thread, {static_cast<trace::RoutineNumber>(callback), Access::kWrite, work.object});
  if (role == ThreadRole::kDpc) {
    ++kernel.active_dpcs();
  }
  kernel.write_for(work.module, EventKind::kWorkQueued, callback, work.object, static_cast<std::uint64_t>(work.kind));
  return thread;
}

const Work* begin_work(Kernel& kernel, Routine callback) {
  Work& work = kernel.thread_state().work;
  if (work.object == 0) {
    return nullptr;
  }
  const EventKind kind =
      kernel.objects().at(work.object).kind == ObjectKind::kNone ? EventKind::kWorkCancelled : EventKind::kWorkStarted;
  kernel.write_for(work.module, kind, callback, work.object, static_cast<std::uint64_t>(work.kind));
  if (kind == EventKind::kWorkCancelled) {
    forget(kernel, kernel.scheduler().current().role, work);
    return nullptr;
  }
  work.entered = true;
  return &work;
}

void end_work(Kernel& kernel, Routine callback) {
  Work& work = kernel.thread_state().work;
  kernel.write_for(work.module, EventKind::kWorkEnded, callback, work.object, static_cast<std::uint64_t>(work.kind));
  forget(kernel, kernel.scheduler().current().role, work);
}

bool take_back_work(Kernel& kernel, Routine callback, ObjectNumber object) {
  for (ThreadNumber thread = 1; thread < kernel.scheduler().thread_limit(); ++thread) {
    Work& work = kernel.thread_state(thread).work;
    if (work.object == object && !work.entered) {
      kernel.write_for(work.module, EventKind::kWorkCancelled, callback, object, static_cast<std::uint64_t>(work.kind));
      if (!is_mutant(Mutant::kTakesNothingBack)) {
        forget(kernel, kernel.scheduler().thread(thread).role, work);
      }
      return true;
    }
  }
  return false;
}

void wait_for_work(Kernel& kernel, Routine routine, ThreadRole role, ObjectNumber object) {
  ObjectNumber& gate = kernel.groups().work_done;
  if (gate == 0) {
    gate = kernel.number_of(kernel.add_object(ObjectKind::kNone, nullptr));
  }
  const std::uint64_t last = is_mutant(Mutant::kFlushesNothing) ? 0 : kernel.groups().work_queued;
  if (!is_outstanding(kernel, role, last, object)) {
    kernel.called(routine, object);
    return;
  }
  kernel.write(EventKind::kCall, routine, object, kStatusPending);
  do {
    kernel.block_on(gate);
  } while (is_outstanding(kernel, role, last, object));
  kernel.write(EventKind::kReturn, routine, object);
}

Object& initialise_record(Kernel& kernel, Routine routine, ObjectKind kind, ObjectNumber old_number,
                          const void* address) {
  const auto same_family = [kind](ObjectKind other) { return other == kind || (is_timer(other) && is_timer(kind)); };
  Object* const old = kernel.objects().find(old_number, address);
  if (old == nullptr || !same_family(old->kind)) {
    return kernel.add_object(kind, address);
  }
  if (old->queued) {
    kernel.breach(routine, Outcome::kReinitializedWhileQueued, old_number);
    take_back_work(kernel, routine, old_number);
    if (old->timer != 0) {
      kernel.scheduler().disarm(old->timer);
    }
  }
  Object fresh;
  fresh.address = address;
  fresh.kind = kind;
  fresh.module = kernel.thread_state().module;
  fresh.next_in_block = old->next_in_block;
  fresh.running = old->running;
  fresh.first_waiter = old->first_waiter;
  fresh.last_waiter = old->last_waiter;
  *old = fresh;
  return *old;
}

}  // namespace nmrfuzz::kernel
