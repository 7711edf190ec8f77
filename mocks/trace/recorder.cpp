#include "trace/recorder.h"

#include <algorithm>
#include <cstdlib>

namespace nmrfuzz::trace {

void Recorder::subscribe(Observer& observer, std::initializer_list<EventKind> kinds) {
  for (const EventKind kind : kinds) {
    Readers& readers = readers_[static_cast<std::size_t>(kind)];
    if (readers.count == kObserversPerKind) {
      std::abort();  // A programming error of the harness: the table is sized for all its observers.
    }
    readers.observers[readers.count++] = &observer;
  }
}

void Recorder::subscribe_all(Observer& observer) {
  for (std::size_t kind = 0; kind < kEventKinds; ++kind) {
    subscribe(observer, {static_cast<EventKind>(kind)});
  }
}

void Recorder::unsubscribe(Observer& observer) {
  for (Readers& readers : readers_) {
    const auto end = readers.observers.begin() + static_cast<std::ptrdiff_t>(readers.count);
    const auto kept = std::remove(readers.observers.begin(), end, &observer);
    readers.count = static_cast<std::size_t>(kept - readers.observers.begin());
  }
}

void Recorder::notify(const Event& event) {
  const Readers& readers = readers_[static_cast<std::size_t>(event.kind)];
  for (std::size_t i = 0; i < readers.count; ++i) {
    readers.observers[i]->on_event(event);
  }
}

}  // namespace nmrfuzz::trace
