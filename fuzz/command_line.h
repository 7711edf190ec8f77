// command_line.h - from the words of the command line to one of the commands.
#pragma once

namespace nmrfuzz::fuzz {

// Returns the exit status of the program.
int run_command_line(int argc, char** argv);

}  // namespace nmrfuzz::fuzz
