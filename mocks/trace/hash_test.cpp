#include "trace/hash.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

namespace nmrfuzz::trace {
namespace {

TraceHash hash_of(const std::vector<Event>& events) {
  TraceHash hash = kEmptyHash;
  for (const Event& event : events) {
    hash = extend(hash, event);
  }
  return hash;
}

Event sample() {
  Event event;
  event.kind = EventKind::kCall;
  event.irql = 2;
  event.thread = 3;
  event.routine = 40;
  event.object = 5;
  event.status = 0x103;
  event.a = 6;
  event.b = 7;
  return event;
}

TEST(Hash, EveryBitOfAnEventCounts) {
  std::set<TraceHash> seen = {hash_of({sample()})};
  for (std::size_t bit = 0; bit < 8 * sizeof(Event); ++bit) {
    std::array<std::uint8_t, sizeof(Event)> bytes{};
    const Event original = sample();
    std::memcpy(bytes.data(), &original, sizeof original);
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    Event changed;
    std::memcpy(&changed, bytes.data(), sizeof changed);
    EXPECT_TRUE(seen.insert(hash_of({changed})).second) << "bit " << bit;
  }
}

// A rotated sum alone would not see two events change places at a distance of 64.
TEST(Hash, OrderCountsAtEveryDistance) {
  for (std::size_t distance = 1; distance <= 256; ++distance) {
    std::vector<Event> events(distance + 1, sample());
    events.front().thread = 1;
    events.back().thread = 2;
    const TraceHash straight = hash_of(events);
    std::swap(events.front(), events.back());
    EXPECT_NE(straight, hash_of(events)) << "distance " << distance;
  }
}

TEST(Hash, LengthCounts) {
  std::set<TraceHash> seen;
  std::vector<Event> events;
  for (int length = 0; length < 1000; ++length) {
    EXPECT_TRUE(seen.insert(hash_of(events)).second) << "length " << length;
    events.emplace_back();
  }
}

// All interleavings of two threads with ten events each, which differ in one small field only.
TEST(Hash, NoCollisionAmongTheInterleavingsOfTwoThreads) {
  constexpr int kEach = 10;
  std::set<TraceHash> seen;
  std::size_t interleavings = 0;
  for (std::uint32_t mask = 0; mask < 1U << (2 * kEach); ++mask) {
    if (__builtin_popcount(mask) != kEach) {
      continue;
    }
    ++interleavings;
    TraceHash hash = kEmptyHash;
    for (int i = 0; i < 2 * kEach; ++i) {
      Event event;
      event.kind = EventKind::kSwitch;
      event.thread = static_cast<ThreadNumber>(1 + (mask >> i & 1));
      hash = extend(hash, event);
    }
    seen.insert(hash);
  }
  EXPECT_EQ(interleavings, 184756U);  // 20 over 10
  EXPECT_EQ(seen.size(), interleavings);
}

// Reproducers carry hashes: whoever changes the function has to know that it breaks them.
TEST(Hash, DoesNotChangeUnnoticed) { EXPECT_EQ(hash_of({sample(), Event{}}), 10213315007584762242U); }

}  // namespace
}  // namespace nmrfuzz::trace
