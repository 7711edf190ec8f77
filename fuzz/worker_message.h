// worker_message.h - what supervisor and worker say to each other: an order on the command line, then lines of JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fuzz/conditions.h"
#include "fuzz/death.h"
#include "fuzz/decision_text.h"
#include "fuzz/engine.h"
#include "fuzz/reproducer.h"
#include "fuzz/wanted.h"

namespace nmrfuzz::fuzz {

enum class Task : std::uint8_t {
  kHunt,    // schedules first, first + stride, ... below end; near SharedState::replay if that is not empty
  kReplay,  // SharedState::replay, `times` times
  kTrace,   // the same once, each event as a line
  kPlaces,  // names the functions at `places`
};

struct WorkerOrder {
  Task task = Task::kHunt;
  int shared = -1;  // descriptors that the worker inherits
  int messages = -1;
  std::vector<std::string> images;  // paths of shared objects
  Conditions conditions;
  std::string strategy;
  std::uint64_t seed = 0;
  std::uint64_t first = 0;
  std::uint64_t stride = 1;
  std::uint64_t end = 0;
  bool keep_going = false;
  bool sweep_only = false;  // a hunt ends with its sweep
  Wanted wanted;            // a hunt near SharedState::replay
  std::uint64_t times = 0;
  std::uint64_t events = 0;  // of the execution that is replayed, up to its finding
  std::vector<CodePlace> places;
};

// The modules are loaded and probed.
struct Ready {
  std::uint32_t registrations = 0;
  std::uint32_t npis_provided = 0;
  std::uint32_t npis_consumed = 0;
};

// The modules cannot be loaded.
struct CannotLoad {
  std::string image;
  std::string text;
};

struct Found {
  std::uint64_t schedule = 0;
  std::string strategy;
  std::uint64_t hash = 0;
  std::uint64_t events = 0;
  Decisions decisions;
  Report report;
};

// Something worth a note, of which this worker has not told before.
struct Noted {
  std::uint64_t schedule = 0;
  std::uint64_t hash = 0;
  Report report;
};

// A place in a module that calls a routine which can fail, and what came of its failures since it was last told.
struct SiteReport {
  std::string routine;
  std::string place;  // "function file:line"
  std::uint64_t failures = 0;
  std::uint64_t findings = 0;       // of the executions in which it alone failed
  std::uint64_t pair_findings = 0;  // of those in which another call failed too
};

// One replay.
struct Replayed {
  std::string kind;  // of the finding; empty without one
  std::string rule;
  std::uint64_t hash = 0;            // at the finding, or at the end
  std::uint64_t events = 0;          // likewise
  std::uint64_t hash_at_events = 0;  // after WorkerOrder::events events; 0 if it had fewer, or they are forgotten
  std::int64_t diverged_at = -1;     // the event before which a recorded answer did not fit; -1: none
  std::uint64_t decisions_left = 0;  // recorded answers that were not asked for
};

struct TraceLine {
  std::string text;
};

// The answer to kPlaces: "function file:line", innermost first, and the functions alone.
struct Places {
  std::vector<std::string> stack;
  std::vector<std::string> functions;
};

using WorkerMessage = std::variant<Ready, CannotLoad, Found, Noted, SiteReport, Replayed, TraceLine, Places>;

std::string encode(const WorkerOrder& order);
std::optional<WorkerOrder> decode_order(std::string_view text);

// One line, without the line break.
std::string encode(const WorkerMessage& message);
std::optional<WorkerMessage> decode_message(std::string_view line);

}  // namespace nmrfuzz::fuzz
