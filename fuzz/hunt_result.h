// hunt_result.h - what a hunt's result means: its exit status, its message, its document.
#pragma once

#include <string>

#include "fuzz/hunt.h"
#include "fuzz/json_output.h"

namespace nmrfuzz::fuzz {

inline constexpr double kDefaultHuntSeconds = 60;

// That schedules did not fit, for whoever reads the result; empty if all did.
std::string text_of_cut_short(const HuntResult& result);

// The discovery that was looked for; nullptr if it did not come, or nothing was looked for.
const Discovery* wanted_of(const HuntPlan& plan, const HuntResult& result);
// A line that says what became of it; empty if nothing was looked for.
std::string text_of_wanted(const HuntPlan& plan, const HuntResult& result);

struct Outcome {
  int status = 0;       // an ExitStatus
  std::string message;  // for standard error; empty when clean or found
};

// `name`: of the modules.
Outcome outcome_of(const HuntResult& result, const std::string& name);

RunDocument document_of(const ModuleSet& modules, const HuntPlan& plan, const HuntResult& result);

}  // namespace nmrfuzz::fuzz
