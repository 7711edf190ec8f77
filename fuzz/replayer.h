// replayer.h - runs a reproducer in a worker of one build and judges each repetition.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/module_set.h"
#include "fuzz/reproducer.h"
#include "fuzz/worker_message.h"

namespace nmrfuzz::fuzz {

enum class Verdict : std::uint8_t {
  kReproduced,  // the same finding after the same events
  kMoved,       // the same finding after other events, in sources that have changed since
  kReached,     // the same events without that finding, in another build than the recorded one: it cannot see it
  kGone,        // no finding, and either the same events or changed sources
  kDiverged,    // other events or another finding
};

struct Judged {
  Verdict verdict = Verdict::kDiverged;
  std::string text;  // for kMoved and kDiverged: how it differs
};

// `same_source`: the modules are those of the recording.
Judged judge(const Reproducer& reproducer, const Replayed& replayed, module::Variant build, bool same_source);

struct ReplayResult {
  std::uint64_t times = 0;  // carried out
  std::uint64_t reproduced = 0;
  Judged worst;            // the last of Verdict's order
  std::uint64_t hash = 0;  // of the first
  std::uint64_t decisions = 0;
  double seconds = 0;
  std::string unusable;  // the modules cannot be loaded: why
  std::string fault;     // nmrfuzz itself failed: how
};

ReplayResult replay(const ModuleSet& modules, const Reproducer& reproducer, module::Variant build, std::uint64_t times);

// Each event as a line. Whatever the execution ends by.
std::vector<std::string> trace(const ModuleSet& modules, const Reproducer& reproducer, std::string& error);

// The names of the functions in which the worker with that state died.
Places name_places(const ModuleSet& modules, module::Variant build, const Death& death);

// Without the path of a shared object in the cache, which says nothing to a user.
std::string load_failure_text(const ModuleSet& modules, const CannotLoad& failure);

}  // namespace nmrfuzz::fuzz
