// race_fixture.h - for unit tests: simulated threads whose accesses are access points.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel/kernel_fixture.h"
#include "race/accesses.h"

namespace nmrfuzz::race {

class RaceFixture : public kernel::KernelFixture {
 protected:
  static constexpr int kSchedules = 300;

  void begin(std::uint64_t seed) {
    KernelFixture::begin(seed);
    accesses.reset(preemptions);
  }

  void touch_at(const void* memory, std::size_t bytes, AccessKind kind, bool is_write) {
    accesses.make(accesses.reach(memory, bytes, kind, is_write), memory, bytes, kind, is_write);
  }
  // One access by the current thread; a scheduling point only where an access is one by itself.
  template <class T>
  void touch(T& variable, AccessKind kind, bool is_write) {
    touch_at(&variable, sizeof variable, kind, is_write);
  }
  template <class T>
  void write(T& variable) {
    touch(variable, AccessKind::kPlain, true);
  }
  template <class T>
  void read(T& variable) {
    touch(variable, AccessKind::kPlain, false);
  }

  // The kAccess events of the execution with that outcome.
  std::vector<trace::Event> accesses_with(trace::Outcome outcome) const {
    std::vector<trace::Event> found = events(trace::EventKind::kAccess);
    std::erase_if(found, [outcome](const trace::Event& event) { return event.outcome != outcome; });
    return found;
  }
  bool raced() const { return !accesses_with(trace::Outcome::kUnordered).empty(); }

  // In how many of kSchedules random schedules the bodies race.
  template <class... Bodies>
  int races(const Bodies&... bodies) {
    return races_after([] {}, bodies...);
  }
  // As above; `prepare` runs before the threads of each.
  template <class Prepare, class... Bodies>
  int races_after(const Prepare& prepare, const Bodies&... bodies) {
    int count = 0;
    for (int seed = 1; seed <= kSchedules; ++seed) {
      begin(static_cast<std::uint64_t>(seed));
      prepare();
      (start(bodies), ...);
      EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
      count += raced() ? 1 : 0;
    }
    return count;
  }

  std::vector<std::uint32_t> preemptions;
  Accesses accesses{kernel};
};

}  // namespace nmrfuzz::race
