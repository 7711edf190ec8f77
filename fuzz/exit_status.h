// exit_status.h - what the exit status of every command says.
#pragma once

namespace nmrfuzz::fuzz {

enum ExitStatus : int {
  kClean = 0,
  kFinding = 1,       // in a module under test
  kUnusable = 2,      // usage or unusable input, nothing exercised, or a replay that diverged
  kHarnessFault = 3,  // nmrfuzz itself failed
};

}  // namespace nmrfuzz::fuzz
