// waits.h - who waits in which routine when nobody can run, read from the event stream.
#pragma once

#include <string_view>
#include <vector>

#include "trace/recorder.h"

namespace nmrfuzz::fuzz {

struct Wait {
  trace::ThreadNumber thread = 0;
  std::string_view routine;  // empty if the stream does not tell
};

// The threads that are waiting at the end of the stream, by number, as far as the ring reaches back.
std::vector<Wait> waits_at_end(const trace::Recorder& recorder);

}  // namespace nmrfuzz::fuzz
