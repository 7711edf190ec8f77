// finding_text.h - a finding for people.
#pragma once

#include <span>
#include <string>

#include "fuzz/hunt.h"

namespace nmrfuzz::fuzz {

// "kind: title", the rule broken, stacks, the last events, how it was found, where its reproducer is. Ends with a line
// break.
std::string finding_text(const Discovery& discovery);

// "  RULE: sentence: title, at place", a line a note; nothing without notes.
std::string notes_text(std::span<const Note> notes);

}  // namespace nmrfuzz::fuzz
