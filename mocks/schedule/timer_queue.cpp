#include "schedule/timer_queue.h"

namespace nmrfuzz::schedule {

TimerQueue::TimerQueue() : slots_(kTimersMaximum) {
  heap_.reserve(kTimersMaximum);
  free_.reserve(kTimersMaximum);
  for (std::uint32_t slot = kTimersMaximum; slot-- > 0;) {
    free_.push_back(slot);
  }
}

void TimerQueue::reset() {
  while (!heap_.empty()) {
    const std::uint32_t slot = heap_.back();
    heap_.pop_back();
    ++slots_[slot].generation;
    free_.push_back(slot);
  }
  sequence_ = 0;
}

TimerId TimerQueue::arm(std::uint64_t due, TimerRoutine routine, void* context, std::uint64_t argument) {
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  Timer& timer = slots_[slot];
  timer.due = due;
  timer.sequence = sequence_++;
  timer.routine = routine;
  timer.context = context;
  timer.argument = argument;
  ++timer.generation;
  heap_.push_back(slot);
  place(static_cast<std::uint32_t>(heap_.size() - 1), slot);
  sift_up(timer.position);
  return (TimerId{timer.generation} << 32) | (slot + 1);
}

bool TimerQueue::cancel(TimerId id) {
  const auto slot = static_cast<std::uint32_t>(id) - 1;
  if (id == 0 || slot >= slots_.size() || slots_[slot].generation != id >> 32) {
    return false;
  }
  remove_at(slots_[slot].position);
  return true;
}

TimerQueue::Timer TimerQueue::take_first() {
  const Timer first = slots_[heap_.front()];
  remove_at(0);
  return first;
}

void TimerQueue::remove_at(std::uint32_t position) {
  const std::uint32_t slot = heap_[position];
  const std::uint32_t last = heap_.back();
  heap_.pop_back();
  if (last != slot) {
    place(position, last);
    sift_up(position);
    sift_down(slots_[last].position);
  }
  ++slots_[slot].generation;
  free_.push_back(slot);
}

bool TimerQueue::before(std::uint32_t left, std::uint32_t right) const {
  const Timer& a = slots_[left];
  const Timer& b = slots_[right];
  return a.due != b.due ? a.due < b.due : a.sequence < b.sequence;
}

void TimerQueue::place(std::uint32_t position, std::uint32_t slot) {
  heap_[position] = slot;
  slots_[slot].position = position;
}

void TimerQueue::sift_up(std::uint32_t position) {
  const std::uint32_t slot = heap_[position];
  while (position > 0 && before(slot, heap_[(position - 1) / 2])) {
    place(position, heap_[(position - 1) / 2]);
    position = (position - 1) / 2;
  }
  place(position, slot);
}

void TimerQueue::sift_down(std::uint32_t position) {
  const std::uint32_t slot = heap_[position];
  const auto size = static_cast<std::uint32_t>(heap_.size());
  for (std::uint32_t child = 2 * position + 1; child < size; child = 2 * position + 1) {
    if (child + 1 < size && before(heap_[child + 1], heap_[child])) {
      ++child;
    }
    if (!before(heap_[child], slot)) {
      break;
    }
    place(position, heap_[child]);
    position = child;
  }
  place(position, slot);
}

}  // namespace nmrfuzz::schedule
