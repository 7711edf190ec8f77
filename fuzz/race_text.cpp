#include "fuzz/race_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "kernel/routine.h"
#include "race/edges.h"

namespace nmrfuzz::fuzz {

using trace::Event;
using trace::EventKind;

namespace {

// Whether a routine takes (+1) or gives back (-1) a lock; 0 for others.
int lock_change(const Event& event) {
  const std::string_view name = kernel::row_of(event.routine).name;
  const race::Edge edge = race::edge_of(static_cast<kernel::Routine>(event.routine));
  if (event.kind != EventKind::kCall || edge == race::Edge::kNone || name.find("Rundown") != std::string_view::npos) {
    return 0;
  }
  if (name.find("TryTo") != std::string_view::npos) {
    return event.status != 0 ? 1 : 0;
  }
  return name.find("Acquire") != std::string_view::npos                                                       ? 1
         : name.find("Release") != std::string_view::npos && name.find("Semaphore") == std::string_view::npos ? -1
                                                                                                              : 0;
}

// "writes 4 bytes", "reads 8 bytes (volatile)", "frees the 64 bytes".
std::string deed_of(const race::Shape& shape) {
  const std::string bytes =
      fmt::format("{}{} byte{}", shape.bytes, shape.bytes == 255 ? " or more" : "", shape.bytes == 1 ? "" : "s");
  return fmt::format("{} {}{}{}", verb_of(shape), shape.is_free ? "the " : "", bytes,
                     shape.is_free ? "" : remark_on(shape.kind));
}

std::string holding(const trace::Recorder& recorder, const RacingAccess& access) {
  const std::vector<std::string> locks = locks_held(recorder, access.thread, access.event_number);
  return locks.empty() ? "holding no lock" : fmt::format("holding {}", fmt::join(locks, ", "));
}

std::string missing(const RacingAccess& earlier, const RacingAccess& later, bool share_lock) {
  const auto is_volatile = [](const RacingAccess& access) { return access.shape.kind == race::AccessKind::kVolatile; };
  std::string text =
      "nothing orders the two: no lock that both hold, and no wait, queueing, interlocked operation or callback of NMR "
      "that leads from one to the other";
  if (is_volatile(earlier) || is_volatile(later)) {
    text += " (volatile orders nothing)";
  }
  return share_lock ? "both hold the same lock, but shared: that admits the other" : text;
}

}  // namespace

std::string_view verb_of(const race::Shape& shape) {
  return shape.is_free ? "frees" : shape.is_write ? "writes" : "reads";
}

std::string_view remark_on(race::AccessKind kind) {
  constexpr std::array<std::string_view, 3> kRemarks = {"", " (volatile)", " (interlocked)"};
  return kRemarks.at(static_cast<std::size_t>(kind));
}

std::vector<std::string> locks_held(const trace::Recorder& recorder, trace::ThreadNumber thread,
                                    std::uint64_t event_number) {
  std::vector<std::pair<trace::ObjectNumber, std::string>> held;
  for (std::uint64_t number = recorder.first(); number < event_number; ++number) {
    const Event& event = recorder.at(number);
    if (event.thread != thread) {
      continue;
    }
    if (event.kind == EventKind::kThreadEnd) {
      held.clear();  // the number may be given to another thread
    }
    const int change = lock_change(event);
    if (change > 0) {
      held.emplace_back(event.object, fmt::format("object {} ({})", event.object, kernel::row_of(event.routine).name));
    } else if (change < 0) {
      const auto taken =
          std::find_if(held.begin(), held.end(), [&](const auto& each) { return each.first == event.object; });
      if (taken != held.end()) {
        held.erase(taken);
      }
    }
  }
  std::vector<std::string> texts;
  texts.reserve(held.size());
  for (auto& [object, text] : held) {
    texts.push_back(std::move(text));
  }
  return texts;
}

std::vector<std::string> race_lines(const trace::Recorder& recorder, const std::string& place,
                                    const RacingAccess& earlier, const RacingAccess& later) {
  const auto line = [&](const RacingAccess& access) {
    return fmt::format("t{} {} of {} at IRQL {}, {}", access.thread, deed_of(access.shape), place, access.irql,
                       holding(recorder, access));
  };
  const std::vector<std::string> first = locks_held(recorder, earlier.thread, earlier.event_number);
  const std::vector<std::string> second = locks_held(recorder, later.thread, later.event_number);
  const bool share = std::any_of(first.begin(), first.end(), [&](const std::string& lock) {
    return std::find(second.begin(), second.end(), lock) != second.end();
  });
  return {line(earlier), line(later), missing(earlier, later, share)};
}

}  // namespace nmrfuzz::fuzz
