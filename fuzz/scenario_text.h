// scenario_text.h - a scenario as lines of a reproducer: "key value", one line a fact.
//
//   npis 2                               NPIs of the modules that have peers
//   world windows                        or NAME=VARIANT ... of `nmrfuzz rules --worlds`
//   faults none                          or "drawn", or "call 17" or "call 3 and 17": which calls that can fail do
//   unload 1 at-rest                     module 1; or "at-once", or "soon STEPS"
//   preempt 12 345                       at which accesses of the modules the running thread is preempted
//   peer 1 arrival=after visits=2        a peer for NPI 1, and what it does that is not plain
//
// Printing what was parsed, and parsing what was printed, give back the same.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/scenario.h"

namespace nmrfuzz::fuzz {

// All lines, each with its end.
std::string print_scenario(const ShapedScenario& shaped);

// The lines that are not as in the plain scenario, but for the world's: for people. Of many peers the first few.
std::vector<std::string> oddities_of(const ShapedScenario& shaped);

// The scenario named by a sequence of lines.
class ScenarioLines {
 public:
  // Whether `key` is one of these lines' keys.
  static bool knows(std::string_view key);
  static std::vector<std::string> keys();
  // Takes one line. Returns what is wrong with it, nothing if it was taken. REQUIRES: knows(key).
  std::optional<std::string> take(std::string_view key, std::string_view value);
  // The whole, or in `error` what is missing or does not fit together.
  std::optional<ShapedScenario> finish(std::string& error) const;

 private:
  // A kind of line: its key, and who takes what follows the key.
  struct Line {
    std::string_view key;
    std::optional<std::string> (ScenarioLines::*take)(std::string_view value);
  };
  static std::span<const Line> lines();

  std::optional<std::string> take_npis(std::string_view value);
  std::optional<std::string> take_world(std::string_view value);
  std::optional<std::string> take_faults(std::string_view value);
  std::optional<std::string> take_unload(std::string_view value);
  std::optional<std::string> take_preempt(std::string_view value);
  std::optional<std::string> take_peer(std::string_view value);

  ShapedScenario shaped_;
  bool has_npis_ = false;
  bool has_world_ = false;
  bool has_faults_ = false;
};

// A text of such lines, blank ones and comments (#) between them.
std::optional<ShapedScenario> parse_scenario(std::string_view text, std::string& error);

}  // namespace nmrfuzz::fuzz
