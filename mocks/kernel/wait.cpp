// wait.cpp - waiting for dispatcher objects, and the wait queues that locks share.
//
// A signal satisfies waits at once, in order of arrival (the signaller hands over), as the kernel's dispatcher does.
// Locks do not hand over: releasing wakes everybody, and whoever is scheduled first takes the lock.
#include "kernel/kernel.h"

#include "kernel/mutant.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {

using trace::EventKind;

std::int32_t Kernel::wait(Routine routine, std::span<const ObjectNumber> waited, bool all,
                          const std::int64_t* timeout) {
  const ObjectNumber first = waited.empty() ? 0 : waited.front();
  const bool may_block = timeout == nullptr || *timeout != 0 || is_mutant(Mutant::kBlocksOnZeroTimeout);
  if (may_block && irql() >= kDispatchLevel && !is_mutant(Mutant::kWaitsAtDispatch)) {
    breach(routine, Outcome::kWaitAtRaisedIrql, first);
  }
  point(routine, first);
  for (const ObjectNumber number : waited) {
    if (!is_dispatcher(objects_.at(number).kind) && !is_mutant(Mutant::kIgnoresFreedAtPoint))
        [[unlikely]] {  // freed at the point
      breach(routine, Outcome::kFreedObject, number);
      return kStatusInvalidParameter;
    }
  }
  const ThreadNumber self = scheduler_.current().number;
  if (waited.size() == 1 && is_signalled(objects_.at(first), self)) {  // no queue to enter and leave
    try_take(objects_.at(first), self);
    called(routine, first, kStatusSuccess, 1);
    return kStatusSuccess;
  }
  ThreadState& state = thread_state();
  state.waits_for_all = all && !is_mutant(Mutant::kWaitsForAny);
  state.first_wait_block = kNoWaitBlock;
  for (std::size_t i = waited.size(); i-- > 0;) {
    const std::uint32_t block = add_wait_block(waited[i], self, static_cast<std::uint16_t>(i));
    wait_blocks_[block].next_of_thread = std::exchange(state.first_wait_block, block);
  }
  for (std::size_t i = 0; i < waited.size(); ++i) {
    if (is_signalled(objects_.at(waited[i]), self) && try_finish_wait(self, static_cast<std::uint16_t>(i))) {
      write_satisfied(waited, state);
      called(routine, first, state.wait_status, waited.size());
      return state.wait_status;
    }
  }
  if (!may_block) {
    remove_wait_blocks(self);
    called(routine, first, kStatusTimeout, waited.size());
    return kStatusTimeout;
  }
  if (timeout != nullptr) {
    state.wait_timer = scheduler_.arm(due_at(*timeout), &Kernel::wait_timed_out, this, self);
  }
  called(routine, first, kStatusPending, waited.size());
  scheduler_.block(first);
  write_satisfied(waited, state);
  write(EventKind::kReturn, routine, first, state.wait_status);
  return state.wait_status;
}

// Which of several objects ended the wait: the event of the call names the first only.
void Kernel::write_satisfied(std::span<const ObjectNumber> waited, const ThreadState& state) {
  if (access_observer_ == nullptr || waited.size() <= 1 || state.wait_status == kStatusTimeout) {
    return;
  }
  for (std::size_t i = 0; i < waited.size(); ++i) {
    if (state.waits_for_all || static_cast<std::size_t>(state.wait_status) == i) {
      write(EventKind::kWaitObject, Routine::KeWaitForMultipleObjects, waited[i]);
    }
  }
}

std::uint64_t Kernel::due_at(std::int64_t time) const {
  const auto bits = static_cast<std::uint64_t>(time);
  if (time < 0 || is_mutant(Mutant::kTakesAbsoluteTimeAsRelative)) {
    return scheduler_.now() - bits;
  }
  return bits > kSystemTimeAtStart ? bits - kSystemTimeAtStart : 0;
}

void Kernel::wait_timed_out(void* kernel, std::uint64_t thread) {
  auto& self = *static_cast<Kernel*>(kernel);
  const auto number = static_cast<ThreadNumber>(thread);
  ThreadState& state = self.thread_states_[number];
  state.wait_timer = 0;
  state.wait_status = kStatusTimeout;
  self.remove_wait_blocks(number);
  self.scheduler_.make_runnable(number);
}

void Kernel::signalled(ObjectNumber number) {
  std::uint32_t block = objects_.at(number).first_waiter;
  while (block != kNoWaitBlock) {
    const WaitBlock waiter = wait_blocks_[block];
    if (!is_signalled(objects_.at(number), waiter.thread)) {
      return;
    }
    // Finishing a wait unlinks all blocks of that thread, the next one possibly among them (one object named twice).
    block = waiter.next;
    while (block != kNoWaitBlock && wait_blocks_[block].thread == waiter.thread) {
      block = wait_blocks_[block].next;
    }
    if (try_finish_wait(waiter.thread, waiter.key)) {
      ThreadState& state = thread_states_[waiter.thread];
      if (state.wait_timer != 0 && !is_mutant(Mutant::kKeepsTimeLimit)) {
        scheduler_.disarm(std::exchange(state.wait_timer, 0));
      }
      scheduler_.make_runnable(waiter.thread);
    }
  }
}

// The thread's object number `key` is signalled: takes it (or all of them) and ends the wait, if it may end.
bool Kernel::try_finish_wait(ThreadNumber thread, std::uint16_t key) {
  ThreadState& state = thread_states_[thread];
  if (state.waits_for_all) {
    for (std::uint32_t b = state.first_wait_block; b != kNoWaitBlock; b = wait_blocks_[b].next_of_thread) {
      if (!is_signalled(objects_.at(wait_blocks_[b].object), thread)) {
        return false;
      }
    }
    state.wait_status = kStatusSuccess;
    for (std::uint32_t b = state.first_wait_block; b != kNoWaitBlock; b = wait_blocks_[b].next_of_thread) {
      try_take(objects_.at(wait_blocks_[b].object), thread);
    }
  } else {
    for (std::uint32_t b = state.first_wait_block; b != kNoWaitBlock; b = wait_blocks_[b].next_of_thread) {
      if (wait_blocks_[b].key == key) {
        try_take(objects_.at(wait_blocks_[b].object), thread);
        break;
      }
    }
    state.wait_status = is_mutant(Mutant::kAnswersWithFirstKey) ? 0 : key;
  }
  remove_wait_blocks(thread);
  return true;
}

bool Kernel::is_signalled(const Object& object, ThreadNumber thread) const {
  return object.signal > 0 ||
         (object.kind == ObjectKind::kMutex && object.owner == thread && !is_mutant(Mutant::kMutexIsNotRecursive));
}

// What a satisfied wait does to the object.
bool Kernel::try_take(Object& object, ThreadNumber thread) {
  switch (object.kind) {
    case ObjectKind::kSynchronizationEvent:
    case ObjectKind::kSynchronizationTimer:
      object.signal = is_mutant(Mutant::kKeepsSynchronizationEvent) ? 1 : 0;
      return true;
    case ObjectKind::kExTimer:
      object.signal = object.flags & kExTimerNotification;  // a synchronization timer wakes one
      return true;
    case ObjectKind::kSemaphore:
      object.signal -= is_mutant(Mutant::kKeepsSemaphore) ? 0 : 1;
      return true;
    case ObjectKind::kMutex:
      object.signal = 0;
      if (object.owner != thread) {
        object.owner = thread;
        ++thread_states_[thread].locks_held;
      }
      ++object.count;
      return true;
    default:
      return true;  // stays signalled
  }
}

void Kernel::block_on(ObjectNumber number) {
  ThreadState& state = thread_state();
  const ThreadNumber self = scheduler_.current().number;
  state.waits_for_all = false;
  state.first_wait_block = add_wait_block(number, self, 0);
  scheduler_.block(number);
}

void Kernel::wake_all(ObjectNumber number) {
  while (objects_.at(number).first_waiter != kNoWaitBlock) {
    const ThreadNumber thread = wait_blocks_[objects_.at(number).first_waiter].thread;
    remove_wait_blocks(thread);
    scheduler_.make_runnable(thread);
    if (is_mutant(Mutant::kWakesOne)) {
      return;
    }
  }
}

std::uint32_t Kernel::add_wait_block(ObjectNumber number, ThreadNumber thread, std::uint16_t key) {
  std::uint32_t block = 0;
  if (!free_wait_blocks_.empty()) {
    block = free_wait_blocks_.back();
    free_wait_blocks_.pop_back();
  } else {
    block = static_cast<std::uint32_t>(wait_blocks_.size());
    wait_blocks_.emplace_back();
  }
  Object& object = objects_.at(number);
  wait_blocks_[block] = {number, thread, key, kNoWaitBlock, object.last_waiter, kNoWaitBlock};
  if (object.last_waiter != kNoWaitBlock) {
    wait_blocks_[object.last_waiter].next = block;
  } else {
    object.first_waiter = block;
  }
  object.last_waiter = block;
  return block;
}

void Kernel::remove_wait_blocks(ThreadNumber thread) {
  ThreadState& state = thread_states_[thread];
  for (std::uint32_t block = std::exchange(state.first_wait_block, kNoWaitBlock); block != kNoWaitBlock;) {
    const std::uint32_t next = wait_blocks_[block].next_of_thread;
    unlink(block);
    free_wait_blocks_.push_back(block);
    block = next;
  }
}

void Kernel::unlink(std::uint32_t number) {
  const WaitBlock& block = wait_blocks_[number];
  Object& object = objects_.at(block.object);
  if (block.previous != kNoWaitBlock) {
    wait_blocks_[block.previous].next = block.next;
  } else {
    object.first_waiter = block.next;
  }
  if (block.next != kNoWaitBlock) {
    wait_blocks_[block.next].previous = block.previous;
  } else {
    object.last_waiter = block.previous;
  }
}

}  // namespace nmrfuzz::kernel
