// recorder.h - the stream itself: a ring of events, its hash, and who reads which kind.
//
// Thread safety: none; one execution, one OS thread. No allocation after construction and subscription.
// Invariants: (1) the hash covers every event ever written, the ring only the last kCapacity of them
//             (2) an observer sees an event after it is in the ring and the hash
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>

#include "trace/event.h"
#include "trace/hash.h"

namespace nmrfuzz::trace {

// Reads events of the kinds it subscribed to. It may end the execution (and then does not return); it must not write
// events.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_event(const Event& event) = 0;
};

// What an observer may not throw away: the memory behind a recorder. In a worker it lies in memory shared with the
// supervisor, so that the events survive whatever kills the worker.
struct EventRing {
  static constexpr std::size_t kCapacity = 1U << 18;
  std::uint64_t written = 0;
  TraceHash hash = kEmptyHash;
  std::array<Event, kCapacity> events;
};

class Recorder {
 public:
  // Uses `ring`, which must outlive the recorder.
  explicit Recorder(EventRing& ring) : ring_(ring) {}
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // `observer` will see each event of `kinds`, behind those that subscribed before. Call between executions only.
  // At most kObserversPerKind a kind.
  void subscribe(Observer& observer, std::initializer_list<EventKind> kinds);
  // As above, for every kind.
  void subscribe_all(Observer& observer);
  void unsubscribe(Observer& observer);

  // Starts a new stream.
  void reset() {
    ring_.written = 0;
    ring_.hash = kEmptyHash;
  }

  void write(const Event& event) { write(std::bit_cast<EventWords>(event)); }
  // As above. Inlined, and stored word by word, so that an event is made in registers and stored once.
  [[gnu::always_inline]] void write(const EventWords& words) {
    Event& slot = ring_.events[ring_.written++ % EventRing::kCapacity];
    ring_.hash = extend(ring_.hash, words);
    for (std::size_t i = 0; i < words.size(); ++i) {
      std::memcpy(reinterpret_cast<char*>(&slot) + i * sizeof words[i], &words[i], sizeof words[i]);
    }
    if (readers_[words[0] & 0xff].count != 0) {  // the first byte is the kind
      notify(slot);
    }
  }

  // Events written since reset: the number of the next event.
  std::uint64_t size() const { return ring_.written; }
  TraceHash hash() const { return ring_.hash; }
  // Event number `index`. REQUIRES: it is among the last kCapacity.
  const Event& at(std::uint64_t index) const { return ring_.events[index % EventRing::kCapacity]; }
  // Number of the oldest event that is still in the ring.
  std::uint64_t first() const {
    return ring_.written > EventRing::kCapacity ? ring_.written - EventRing::kCapacity : 0;
  }

 private:
  static constexpr std::size_t kObserversPerKind = 8;
  struct Readers {
    std::size_t count = 0;
    std::array<Observer*, kObserversPerKind> observers{};
  };

  void notify(const Event& event);

  EventRing& ring_;
  std::array<Readers, kEventKinds> readers_{};
};

}  // namespace nmrfuzz::trace
