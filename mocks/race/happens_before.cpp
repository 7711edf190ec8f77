#include "race/happens_before.h"

#include <algorithm>

#include "kernel/object.h"
#include "kernel/status.h"
#include "schedule/limits.h"

namespace nmrfuzz::race {

using kernel::kDispatchLevel;
using kernel::Routine;
using schedule::ThreadRole;
using trace::Event;
using trace::EventKind;
using trace::ObjectNumber;
using trace::ThreadNumber;

namespace {

std::size_t released(ObjectNumber object) { return std::size_t{object} * 2; }
std::size_t released_by_sharers(ObjectNumber object) { return std::size_t{object} * 2 + 1; }
std::size_t begun(ObjectNumber registration) { return std::size_t{registration} * 2; }
std::size_t done(ObjectNumber registration) { return std::size_t{registration} * 2 + 1; }

bool inherits(ThreadRole role) {
  return role == ThreadRole::kSystem || role == ThreadRole::kDpc || role == ThreadRole::kWorker ||
         role == ThreadRole::kTest;
}

}  // namespace

HappensBefore::HappensBefore(schedule::Scheduler& scheduler)
    : scheduler_(scheduler),
      threads_(schedule::kThreadsMaximum),
      at_fence_(schedule::kThreadsMaximum),
      since_fence_(schedule::kThreadsMaximum) {
  free_slots_.reserve(schedule::kThreadsMaximum);
  scheduler.recorder().subscribe(
      *this, {EventKind::kThreadStart, EventKind::kThreadEnd, EventKind::kCall, EventKind::kReturn,
              EventKind::kWorkQueued, EventKind::kWorkStarted, EventKind::kWorkEnded, EventKind::kWaitObject,
              EventKind::kRegisterEnter, EventKind::kDeregisterEnter, EventKind::kWaitExit, EventKind::kOffer,
              EventKind::kCallbackEnter, EventKind::kCallbackExit, EventKind::kAttachCallEnter, EventKind::kComplete});
}

HappensBefore::~HappensBefore() { scheduler_.recorder().unsubscribe(*this); }

void HappensBefore::reset() {
  ++execution_;
  width_ = 1;
  free_slots_.clear();
  threads_[schedule::kClock] = {};
}

HappensBefore::Published& HappensBefore::grown(Table& table, std::size_t index) {
  if (table.size() <= index) {
    table.resize(std::max(index + 1, table.size() * 2));
  }
  Published& published = table[index];
  if (published.execution != execution_) {
    published.execution = execution_;
    published.clock.clear(kSlots);
  }
  return published;
}

// The clock thread orders nothing: it stands for whatever made a timer expire.
void HappensBefore::acquire(Table& table, std::size_t index) {
  if (scheduler_.current().number != schedule::kClock && index < table.size() && table[index].execution == execution_) {
    current().known.join(table[index].clock, width_);
  }
}

void HappensBefore::release(Table& table, std::size_t index) {
  if (scheduler_.current().number != schedule::kClock) {
    grown(table, index).clock.join(current().known, width_);
    advance(current());
  }
}

// In either way.
void HappensBefore::acquire_object(ObjectNumber object) {
  acquire(objects_, released(object));
  acquire(objects_, released_by_sharers(object));
}

void HappensBefore::on_event(const Event& event) {
  switch (event.kind) {
    case EventKind::kThreadStart:
      start_thread(event);
      break;
    case EventKind::kThreadEnd:
      leave_processor(current());  // a callback at DISPATCH_LEVEL may have been all that the thread did
      if (current().slot != 0) {
        free_slots_.push_back(current().slot);
      }
      break;
    case EventKind::kCall:
    case EventKind::kReturn:
      on_call(event);
      break;
    case EventKind::kWaitObject:
      acquire(objects_, released(event.object));
      break;
    case EventKind::kWorkQueued:
      release(objects_, released(event.object));
      break;
    case EventKind::kWorkStarted:
      acquire(objects_, released(event.object));
      break;
    case EventKind::kWorkEnded:
      end_work(event);
      break;
    default:
      on_registrar_event(event);
      break;
  }
}

void HappensBefore::start_thread(const Event& event) {
  ThreadClock& started = threads_[event.object];
  const ThreadClock& creator = current();
  started.slot = 0;
  started.has_fence = false;
  started.has_read_clock = false;
  started.asked_processor = false;
  take_slot(started);
  const Clock own = started.known.components[started.slot];
  if (inherits(static_cast<ThreadRole>(event.a)) && scheduler_.current().number != schedule::kClock) {
    std::copy_n(creator.known.components.begin(), kSlots, started.known.components.begin());
    advance(current());
  } else {
    started.known.clear(kSlots);
  }
  started.known.components[started.slot] = std::max(own, started.known.components[started.slot]) + 1;
}

// A fresh one, or that of a thread which has ended: then this thread counts as its continuation.
void HappensBefore::take_slot(ThreadClock& thread) {
  thread.known.components[0] = 0;
  if (width_ < kSlots) {
    thread.slot = static_cast<Slot>(width_++);
    thread.known.components[thread.slot] = 0;
  } else if (!free_slots_.empty()) {
    thread.slot = free_slots_.back();
    free_slots_.pop_back();
    Clock latest = 0;
    for (ThreadNumber number = 1; number < scheduler_.thread_limit(); ++number) {
      latest = std::max(latest, threads_[number].known.components[thread.slot]);
    }
    thread.known.components[thread.slot] = latest;
  } else {
    thread.slot = kSlots - 1;
  }
}

void HappensBefore::end_work(const Event& event) {
  release(objects_, released(event.object));
  if (static_cast<kernel::ObjectKind>(event.a) == kernel::ObjectKind::kDpc) {
    release(dpcs_ended_, 0);
  }
  leave_processor(current());
}

void HappensBefore::on_call(const Event& event) {
  const auto routine = static_cast<Routine>(event.routine);
  on_processor(event);
  const Edge edge = edge_of(routine);
  if (edge == Edge::kNone || (event.object == 0 && edge != Edge::kFence && edge != Edge::kFlush)) {
    return;
  }
  const bool pending = event.status == static_cast<std::uint32_t>(kernel::kStatusPending);
  const bool timed_out = event.status == static_cast<std::uint32_t>(kernel::kStatusTimeout);
  switch (edge) {
    case Edge::kAcquireIfTaken:
      if (event.status == 0) {
        break;
      }
      [[fallthrough]];
    case Edge::kAcquire:
      acquire_object(event.object);
      break;
    case Edge::kAcquireIfWaited:
      if (!pending && !timed_out) {
        acquire_object(event.object);
      }
      break;
    case Edge::kAcquireShared:
      acquire(objects_, released(event.object));
      break;
    case Edge::kReleaseShared:
      release(objects_, released_by_sharers(event.object));
      break;
    case Edge::kBoth:
      acquire(objects_, released(event.object));
      [[fallthrough]];
    case Edge::kRelease:
      release(objects_, released(event.object));
      break;
    case Edge::kReleaseWithLink:
      release(objects_, released(event.object));
      if (event.b != 0) {
        release(objects_, released(static_cast<ObjectNumber>(event.b)));
      }
      break;
    case Edge::kFlush:
      if (!pending) {
        acquire(dpcs_ended_, 0);
      }
      break;
    case Edge::kFence:
      fence();
      break;
    case Edge::kNone:
      break;
  }
}

void HappensBefore::on_registrar_event(const Event& event) {
  if (event.irql < kDispatchLevel) {
    leave_processor(current());
  }
  const auto parties = [&]() -> Parties { return event.object < parties_.size() ? parties_[event.object] : Parties{}; };
  switch (event.kind) {
    case EventKind::kRegisterEnter:
    case EventKind::kDeregisterEnter:
      if (event.object != 0) {
        release(registrations_, begun(event.object));
      }
      break;
    case EventKind::kWaitExit:
      acquire(registrations_, done(event.object));
      break;
    case EventKind::kOffer:
      if (parties_.size() <= event.object) {
        parties_.resize(std::size_t{event.object} * 2 + 1);
      }
      parties_[event.object] = {static_cast<ObjectNumber>(event.a), static_cast<ObjectNumber>(event.b)};
      grown(bindings_, event.object).clock.clear(kSlots);
      break;
    case EventKind::kCallbackEnter:
      acquire(registrations_, begun(parties().client));
      acquire(registrations_, begun(parties().provider));
      acquire(bindings_, event.object);
      break;
    case EventKind::kAttachCallEnter:
    case EventKind::kCallbackExit:
    case EventKind::kComplete:
      if (event.object != 0) {
        release(bindings_, event.object);
        release(registrations_, done(parties().client));
        release(registrations_, done(parties().provider));
      }
      break;
    default:
      break;
  }
}

// A thread at DISPATCH_LEVEL keeps its processor: what it does there is ordered with what others do there.
void HappensBefore::on_processor(const Event& event) {
  ThreadClock& thread = current();
  if (event.irql < kDispatchLevel) {
    leave_processor(thread);
  }
  if (static_cast<Routine>(event.routine) == Routine::ProcessorQuery && event.irql >= kDispatchLevel) {
    thread.asked_processor = true;
    thread.processor = static_cast<std::uint32_t>(event.a);
    acquire(processors_, thread.processor);
  }
}

void HappensBefore::leave_processor(ThreadClock& thread) {
  if (thread.asked_processor) {
    thread.asked_processor = false;
    release(processors_, thread.processor);
  }
}

void HappensBefore::reads_place(std::uint32_t place, bool orders) {
  if (place >= places_.size() || places_[place].execution != execution_) {
    return;
  }
  if (orders) {
    acquire(places_, place);
    return;
  }
  const ThreadNumber number = scheduler_.current().number;
  ThreadClock& thread = threads_[number];
  if (!thread.has_read_clock) {
    thread.has_read_clock = true;
    since_fence_[number].clear(kSlots);
  }
  since_fence_[number].join(places_[place].clock, width_);
}

void HappensBefore::writes_place(std::uint32_t place, bool orders) {
  if (orders) {
    release(places_, place);
    return;
  }
  const ThreadNumber number = scheduler_.current().number;
  if (threads_[number].has_fence) {
    grown(places_, place).clock.join(at_fence_[number], width_);
  }
}

void HappensBefore::fence() {
  const ThreadNumber number = scheduler_.current().number;
  ThreadClock& thread = threads_[number];
  if (thread.has_read_clock) {
    thread.known.join(since_fence_[number], width_);
  }
  thread.has_fence = true;
  at_fence_[number] = thread.known;
  advance(thread);
}

}  // namespace nmrfuzz::race
