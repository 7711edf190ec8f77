// deadlock.h - which rule a deadlock breaks, as far as the stream proves it: R57, R68, R79, R86, R104, R105.
//
// Looked for in the order of certainty: a wait for a registration inside one of its own callbacks; a lock held across
// Deregister or the wait that a callback needs; a callback that waits at all; a detach that nobody completed.
#pragma once

#include <string_view>

#include "trace/recorder.h"

namespace nmrfuzz::contract {

// REQUIRES: the newest event is kDeadlock. Empty: no rule of NMR's contract, or no proof of one.
std::string_view deadlock_rule(const trace::Recorder& recorder);

}  // namespace nmrfuzz::contract
