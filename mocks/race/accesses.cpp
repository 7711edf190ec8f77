#include "race/accesses.h"

#include <algorithm>
#include <limits>

#include "schedule/limits.h"

namespace nmrfuzz::race {

using kernel::Pool;
using kernel::Routine;
using trace::EventKind;
using trace::Outcome;
using trace::ThreadNumber;

Accesses::Accesses(kernel::Kernel& kernel)
    : kernel_(kernel),
      order_(kernel.scheduler()),
      shadow_(&Accesses::stack_of, this),
      stack_touched_(schedule::kThreadsMaximum, false) {
  kernel_.set_access_observer(this);
  kernel_.scheduler().recorder().subscribe(*this, {EventKind::kThreadStart});
}

Accesses::~Accesses() {
  kernel_.scheduler().recorder().unsubscribe(*this);
  kernel_.set_access_observer(nullptr);
}

void Accesses::reset(std::span<const std::uint32_t> preemptions) {
  order_.reset();
  shadow_.reset();
  places_.reset();
  count_ = 0;
  next_yield_ = kAccessesPerYield;
  steps_at_yield_ = 0;
  preemptions_ = preemptions;
  raced_ = false;
  tolerated_ = false;
  plan_stop();
}

// Which simulated thread's stack the page at `address` belongs to. Asked once for each page.
std::uint16_t Accesses::stack_of(void* self, std::uintptr_t address) {
  const schedule::Scheduler& scheduler = static_cast<Accesses*>(self)->kernel_.scheduler();
  for (ThreadNumber number = 1; number < scheduler.thread_limit(); ++number) {
    const schedule::Fiber& fiber = scheduler.thread(number).fiber;
    if (address - reinterpret_cast<std::uintptr_t>(fiber.stack_low()) < fiber.stack_size()) {
      return number;
    }
  }
  return 0;
}

void Accesses::on_event(const trace::Event& event) {
  if (stack_touched_[event.object]) {
    stack_touched_[event.object] = false;
    const schedule::Fiber& fiber = kernel_.scheduler().thread(static_cast<ThreadNumber>(event.object)).fiber;
    shadow_.forget(reinterpret_cast<std::uintptr_t>(fiber.stack_low()), fiber.stack_size());
  }
}

// --- Preemption ------------------------------------------------------------------------------------------------------

void Accesses::plan_stop() {
  next_stop_ = next_yield_;
  if (!preemptions_.empty()) {
    next_stop_ = std::min<std::uint64_t>(next_stop_, preemptions_.front());
  }
  if (watcher_ != nullptr && watched_ > count_) {
    next_stop_ = std::min(next_stop_, watched_);
  }
}

Shape Accesses::shape_of(std::uint64_t ordinal, std::size_t bytes, Manner manner, bool is_free) {
  constexpr std::size_t kMost = std::numeric_limits<std::uint8_t>::max();
  return {static_cast<std::uint8_t>(std::min(bytes, kMost)), is_write(manner), kind_of(manner), is_free, ordinal};
}

void Accesses::notify_watcher(const void* pointer, std::size_t bytes, Manner manner, bool is_free) {
  if (watcher_ != nullptr && count_ == watched_) {
    watcher_->on_ordinal(pointer, shape_of(count_, bytes, manner, is_free));
  }
}

// Others run in here, and come here themselves.
void Accesses::stop(const void* pointer, std::size_t bytes, Manner manner) {
  schedule::Scheduler& scheduler = kernel_.scheduler();
  notify_watcher(pointer, bytes, manner, false);
  bool yields = false;
  while (!preemptions_.empty() && preemptions_.front() <= count_) {
    preemptions_ = preemptions_.subspan(1);
    yields = true;
  }
  if (count_ >= next_yield_) {
    yields |= scheduler.steps() == steps_at_yield_;
    next_yield_ = count_ + kAccessesPerYield;
  }
  if (yields) {
    plan_stop();
    scheduler.yield({static_cast<trace::RoutineNumber>(Routine::MemoryAccess), schedule::Access::kWrite, 0});
  }
  steps_at_yield_ = scheduler.steps();
  plan_stop();
}

void Accesses::point(bool is_write) {
  kernel_.point(Routine::MemoryAccess, 0, is_write ? schedule::Access::kWrite : schedule::Access::kRead);
}

// --- What an access meets --------------------------------------------------------------------------------------------

// Whether records of this thread's present epoch stand for the access, byte by byte.
bool Accesses::is_covered(std::uint32_t head, std::uint8_t mask, Manner manner) {
  const HappensBefore::ThreadClock& thread = self();
  const Clock now = order_.now(thread);
  for (std::uint32_t number = head; mask != 0 && shadow_.holds(number);) {
    const Record& record = shadow_.record(number);
    if (record.slot == thread.slot && record.clock == now && is_stood_for(record.manner, manner)) {
      mask &= static_cast<std::uint8_t>(~record.mask);
    }
    number = record.next;
  }
  return mask == 0;
}

// `record` is another thread's, of some of the same bytes, and not ordered before the access.
void Accesses::compare(const Record& record, Manner manner, Found& found) {
  if (!conflicts(record.manner, manner)) {
    return;
  }
  std::uint32_t& latest = is_tolerated(record.manner, manner) ? found.tolerated : found.race;
  latest = std::max(latest, record.ordinal);
}

Accesses::Found Accesses::note(std::uint64_t ordinal, Shadow::Cell cell, std::uint8_t mask, Manner manner) {
  Found found;
  if (is_covered(*cell.head, mask, manner)) {
    return found;
  }
  const HappensBefore::ThreadClock& thread = self();
  std::uint32_t spare = Shadow::kNone;
  for (std::uint32_t* link = cell.head; shadow_.holds(*link);) {
    Record& record = shadow_.record(*link);
    if ((record.mask & mask) != 0) {
      const bool own = record.slot == thread.slot;
      const bool before = own || HappensBefore::is_before(record.slot, record.clock, thread);
      found.shared |= !own && (is_write(record.manner) || is_write(manner));
      if (!before) {
        compare(record, manner, found);
      } else if (is_stood_for(manner, record.manner)) {
        record.mask &= static_cast<std::uint8_t>(~mask);
        if (record.mask == 0) {
          spare = *link;
          *link = record.next;
          continue;
        }
      }
    }
    link = &record.next;
  }
  const std::uint32_t number = spare != Shadow::kNone ? spare : shadow_.add();
  if (number == Shadow::kNone) {
    return found;  // no room: races with this access are missed
  }
  shadow_.record(number) = {*cell.head, order_.now(thread), static_cast<std::uint32_t>(ordinal), thread.slot, manner,
                            mask};
  *cell.head = number;
  if (cell.page->stack_of != 0) {
    stack_touched_[cell.page->stack_of] = true;
  }
  return found;
}

Accesses::Found Accesses::note_range(std::uint64_t ordinal, std::uintptr_t address, std::size_t bytes, Manner manner) {
  Found all;
  for (const std::uintptr_t end = address + bytes; address < end;) {
    const std::size_t here = std::min<std::size_t>(end - address, Shadow::kGranule - address % Shadow::kGranule);
    const Found found = note(ordinal, shadow_.cell(address), mask_of(address, here), manner);
    all.shared |= found.shared;
    all.race = std::max(all.race, found.race);
    all.tolerated = std::max(all.tolerated, found.tolerated);
    address += here;
  }
  return all;
}

// An atomic access of the place with that number, which orders threads as `order` says.
Accesses::Found Accesses::note_atomic(std::uint64_t ordinal, std::uintptr_t address, std::size_t bytes, Manner manner,
                                      std::uint32_t place, kernel::InterlockedOrder order) {
  if (order.reads) {
    order_.reads_place(place, order.acquires);
  }
  const Found found = note_range(ordinal, address, bytes, manner);
  if (order.writes) {
    order_.writes_place(place, order.releases);
  }
  return found;
}

void Accesses::make_range(std::uint64_t ordinal, const void* pointer, std::size_t bytes, Manner manner) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  Found found;
  if (kind_of(manner) == AccessKind::kPlain) {
    found = note_range(ordinal, address, bytes, manner);
  } else {
    const bool orders = kind_of(manner) == AccessKind::kInterlocked;
    // An interlocked write may be a read-modify-write.
    found = note_atomic(
        ordinal, address, bytes, manner, places_.number(address),
        {.reads = orders || !is_write(manner), .writes = is_write(manner), .acquires = orders, .releases = orders});
  }
  if (found.shared) {
    tell(ordinal, pointer, bytes, manner, found, false);
  }
}

void Accesses::tell(std::uint64_t ordinal, const void* pointer, std::size_t bytes, Manner manner, const Found& found,
                    bool is_free) {
  Outcome outcome = Outcome::kOk;
  std::uint64_t other = 0;
  if (found.race != 0 && !raced_) {
    raced_ = true;
    outcome = Outcome::kUnordered;
    other = found.race;
  } else if (found.race == 0 && found.tolerated != 0 && !tolerated_) {
    tolerated_ = true;
    outcome = Outcome::kUnorderedRead;
    other = found.tolerated;
  }
  const std::uint32_t block = Pool::contains(pointer) ? kernel_.pool().block_around(pointer) : 0;
  const std::uint32_t place = places_.number(reinterpret_cast<std::uintptr_t>(pointer));
  kernel_.write(EventKind::kAccess, Routine::MemoryAccess, block, static_cast<std::int32_t>(place),
                shape_of(ordinal, bytes, manner, is_free).packed(), other, outcome);
}

// --- What the kernel says --------------------------------------------------------------------------------------------

// No preemption: between here and the operation nobody may come in. One that is due happens at the next access.
std::uint32_t Accesses::on_interlocked(const void* place, std::size_t bytes, kernel::InterlockedOrder order) {
  const std::uint64_t ordinal = ++count_;
  const Manner manner = manner_of(AccessKind::kInterlocked, order.writes);
  notify_watcher(place, bytes, manner, false);
  const auto address = reinterpret_cast<std::uintptr_t>(place);
  const std::uint32_t number = places_.number(address);
  const Found found = note_atomic(ordinal, address, bytes, manner, number, order);
  if (found.race != 0 || found.tolerated != 0) {
    tell(ordinal, place, bytes, manner, found, false);
  }
  return number;
}

void Accesses::on_free(const void* memory, std::size_t bytes) {
  const std::uint64_t ordinal = ++count_;
  notify_watcher(memory, bytes, Manner::kPlainWrite, true);
  const Found found = note_range(ordinal, reinterpret_cast<std::uintptr_t>(memory), bytes, Manner::kPlainWrite);
  if (found.race != 0) {
    tell(ordinal, memory, bytes, Manner::kPlainWrite, found, true);
  }
}

void Accesses::forget(const void* memory, std::size_t bytes) {
  shadow_.forget(reinterpret_cast<std::uintptr_t>(memory), bytes);
}

}  // namespace nmrfuzz::race
