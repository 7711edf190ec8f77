// conditions.h - what holds for all executions of a hunt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nmr/world.h"
#include "schedule/limits.h"

namespace nmrfuzz::fuzz {

// Whether routines that can fail do: never; now and then; each call in turn, then pairs (fault_sweep.h).
enum class Faults : std::uint8_t { kOff, kOn, kSweep };

struct Conditions {
  bool any_world = true;
  nmr::World world;  // where any_world is false
  Faults faults = Faults::kOn;
  bool one_peer = false;      // for each NPI, and no ladder
  bool strict = false;        // notes are findings
  bool access_points = true;  // the modules' own loads and stores are events, and may be scheduling points
  std::uint64_t step_limit = schedule::kStepLimitDefault;

  bool operator==(const Conditions&) const = default;
};

std::string_view name_of(Faults faults);
std::optional<Faults> faults_named(std::string_view name);

// "any", "windows" or assignments.
std::string world_text(const Conditions& conditions);
// Sets the world that `text`, in the form above, says. Returns what is wrong with it, nothing if it was set.
std::optional<std::string> set_world(Conditions& conditions, std::string_view text);

}  // namespace nmrfuzz::fuzz
