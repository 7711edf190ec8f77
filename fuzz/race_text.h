// race_text.h - a data race in words: what both threads did, which locks they held, what is missing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "race/accesses.h"
#include "trace/recorder.h"

namespace nmrfuzz::fuzz {

// One of the two accesses of a race.
struct RacingAccess {
  trace::ThreadNumber thread = 0;
  std::uint8_t irql = 0;
  race::Shape shape;
  const void* pointer = nullptr;
  std::uint64_t event_number = 0;  // of the first event that is not before it
};

// "reads", "writes" or "frees".
std::string_view verb_of(const race::Shape& shape);
// " (volatile)" or " (interlocked)"; empty for a plain one.
std::string_view remark_on(race::AccessKind kind);

// The locks that a thread holds before the event with that number: "object 4 (KeAcquireSpinLock)". Those whose
// acquisition the ring has forgotten are missing.
std::vector<std::string> locks_held(const trace::Recorder& recorder, trace::ThreadNumber thread,
                                    std::uint64_t event_number);

// A line for each access, and one for what is missing. `place`: what they touched, in words.
std::vector<std::string> race_lines(const trace::Recorder& recorder, const std::string& place,
                                    const RacingAccess& earlier, const RacingAccess& later);

}  // namespace nmrfuzz::fuzz
