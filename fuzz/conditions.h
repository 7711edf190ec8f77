// conditions.h - what holds for all executions of a hunt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nmr/world.h"
#include "schedule/limits.h"

namespace nmrfuzz::fuzz {

struct Conditions {
  bool any_world = true;
  nmr::World world;  // where any_world is false
  bool faults = true;
  bool one_peer = false;  // for each NPI, and no ladder
  bool strict = false;    // notes are findings
  std::uint64_t step_limit = schedule::kStepLimitDefault;

  bool operator==(const Conditions&) const = default;
};

// "any", "windows" or assignments.
std::string world_text(const Conditions& conditions);
// Sets the world that `text`, in the form above, says. Returns what is wrong with it, nothing if it was set.
std::optional<std::string> set_world(Conditions& conditions, std::string_view text);

}  // namespace nmrfuzz::fuzz
