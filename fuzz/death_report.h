// death_report.h - a worker's death in words, as Engine::describe does for findings that end an execution in order.
#pragma once

#include "fuzz/shared_state.h"
#include "fuzz/worker_message.h"

namespace nmrfuzz::fuzz {

// `state`: of a worker that is dead. `places`: the names of its Death::places.
Report report_of_death(const SharedState& state, const Places& places);

}  // namespace nmrfuzz::fuzz
