#include "fuzz/death_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

#include "fuzz/event_text.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

using contract::FindingKind;

namespace {

constexpr std::uint64_t kEventsShown = 40;

// Only what is the same in every run may be said, so no address but small ones.
std::string what_happened(const Death& death) {
  const std::string_view what = death.what.data();
  const std::string_view done = what == "call" ? "called" : death.write ? "written" : "read";
  switch (death.kind) {
    case FindingKind::kLivelock:
      return "a loop without any call runs on";
    case FindingKind::kNullDereference:
      return fmt::format("address {:#x} is {}", death.address, done);
    case FindingKind::kUndefinedBehavior:
      return what == "division" ? "an integer division has no result"
             : what == "trap"   ? "an instruction that must not be reached is executed"
                                : fmt::format("{}", what);
    case FindingKind::kBugCheck:
      return what == "breakpoint" ? "a breakpoint or failed assertion is hit" : "the program is aborted";
    default:
      break;
  }
  if (what == "call" || what == "access") {
    return fmt::format("memory that belongs to nobody is {}", done);
  }
  return death.bytes == 0 ? std::string(what) : fmt::format("{}: {} bytes are {}", what, death.bytes, done);
}

}  // namespace

Report report_of_death(const SharedState& state, const Places& places) {
  const Death& death = state.death;
  Report report;
  report.kind = contract::name_of(death.kind);
  report.stack = places.stack;
  report.title = what_happened(death);
  if (!places.stack.empty()) {
    report.title += fmt::format(" in {}", places.stack.front());
  }
  // Where exactly a loop was interrupted is chance; what it was called from is not.
  const bool outermost_only = death.kind == FindingKind::kLivelock && !places.functions.empty();
  report.signature =
      fmt::format("{}:::{}", report.kind, outermost_only ? places.functions.back() : join(places.functions, "<"));
  const std::uint64_t written = state.ring.written;
  const std::uint64_t shown = std::min({written, kEventsShown, std::uint64_t{trace::EventRing::kCapacity}});
  for (std::uint64_t number = written - shown; number < written; ++number) {
    report.events.push_back(line_of(state.ring.events[number % trace::EventRing::kCapacity], number));
  }
  return report;
}

}  // namespace nmrfuzz::fuzz
