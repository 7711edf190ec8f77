// process.h - runs another program without a shell and collects what it says.
// Thread safety: run_process may be called from several threads at the same time.
#pragma once

#include <string>
#include <vector>

namespace nmrfuzz::module {

struct ProcessResult {
  int start_error = 0;  // errno if the program could not be started; the rest is then empty
  int status = 0;       // exit status, or 128 + signal
  std::string output;   // standard output and standard error, in the order they were written

  bool ok() const { return start_error == 0 && status == 0; }
};

// Runs arguments[0] (a path, or a name looked up in PATH) with standard input empty, and waits for its end.
ProcessResult run_process(const std::vector<std::string>& arguments);

// Starts a program whose standard input and output are the returned socket. Returns -1 with errno set if it cannot.
// `process` is its process id; the caller closes the socket and waits for the process.
int start_filter(const std::vector<std::string>& arguments, int& process);

}  // namespace nmrfuzz::module
