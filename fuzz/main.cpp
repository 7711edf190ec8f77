// main.cpp - the nmrfuzz program: a command for its user, or a worker of one.
#include <string_view>

#include "fuzz/command_line.h"
#include "fuzz/worker.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == nmrfuzz::fuzz::kWorkerArgument) {
    return nmrfuzz::fuzz::run_worker(argv[2]);
  }
  return nmrfuzz::fuzz::run_command_line(argc, argv);
}
