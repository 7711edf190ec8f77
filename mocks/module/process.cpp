#include "module/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace nmrfuzz::module {

namespace {

// What posix_spawnp wants: pointers to mutable strings, null at the end.
std::vector<char*> argument_pointers(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

// Starts the program with `input`, `output` and `errors` as descriptors 0, 1 and 2 (-1: as ours, or empty for input).
// Every other descriptor of this process is close-on-exec. Returns errno or 0.
int spawn(const std::vector<std::string>& arguments, int input, int output, int errors, pid_t& process) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (input < 0) {
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  } else {
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  }
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  if (errors >= 0) {
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  const std::vector<char*> pointers = argument_pointers(arguments);
  const int error = posix_spawnp(&process, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

int wait_for(pid_t process) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& arguments) {
  ProcessResult result;
  std::array<int, 2> pipe_ends{};
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) {
    result.start_error = errno;
    return result;
  }
  pid_t process = 0;
  result.start_error = spawn(arguments, -1, pipe_ends[1], pipe_ends[1], process);
  close(pipe_ends[1]);
  if (result.start_error == 0) {
    std::array<char, 4096> buffer;
    ssize_t got = 0;
    while ((got = read(pipe_ends[0], buffer.data(), buffer.size())) != 0) {
      if (got > 0) {
        result.output.append(buffer.data(), static_cast<std::size_t>(got));
      } else if (errno != EINTR) {
        break;
      }
    }
    result.status = wait_for(process);
  }
  close(pipe_ends[0]);
  return result;
}

int start_filter(const std::vector<std::string>& arguments, int& process) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return -1;
  }
  const int error = spawn(arguments, ends[1], ends[1], -1, process);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    errno = error;
    return -1;
  }
  return ends[0];
}

}  // namespace nmrfuzz::module
