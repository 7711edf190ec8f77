// hunt_from.h - `hunt --from FILE`: a hunt near a reproducer, after its sources or nmrfuzz itself have changed.
#pragma once

#include <optional>
#include <string>

#include "fuzz/commands.h"

namespace nmrfuzz::fuzz {

// Completes `options` from the reproducer options.from: its modules, or those given in their place; its conditions and
// build, unless the command line says others; its decisions, and the finding to look for. Returns what is wrong,
// nothing if it is done.
std::optional<std::string> complete_from_reproducer(HuntOptions& options);

}  // namespace nmrfuzz::fuzz
