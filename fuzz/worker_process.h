// worker_process.h - one worker as its supervisor sees it: started, listened to, watched, and judged when it is dead.
//
// Thread safety: none. The worker is killed when its WorkerProcess, or the supervisor itself, goes away.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fuzz/shared_state.h"
#include "fuzz/worker_message.h"
#include "module/variant.h"

namespace nmrfuzz::fuzz {

// How a worker ended.
enum class WorkerEnd : std::uint8_t {
  kDone,        // it did what it was told
  kCannotLoad,  // it has said why
  kModuleDied,  // of a fault of the module: SharedState::death
  kFault,       // of anything else: failure() says what
};

class WorkerProcess {
 public:
  // Starts the program of that variant, this one or its sister in the same folder. `replay` is copied to the worker.
  // nullptr with a description in `error` if it cannot be started.
  static std::unique_ptr<WorkerProcess> start(WorkerOrder order, module::Variant variant,
                                              std::span<const std::uint16_t> replay, std::string& error);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // To be polled; at its end of file the worker is dead.
  int descriptor() const { return messages_; }
  SharedState& state() { return *state_; }

  // The messages that have arrived. False when there will be no more: call finish() then.
  bool receive(std::vector<WorkerMessage>& messages);
  // Ends a worker that makes no progress. Call a few times a second.
  void watch();
  // Waits for the end of the process.
  WorkerEnd finish();
  // What went wrong, after kFault.
  const std::string& failure() const { return failure_; }

 private:
  struct Progress {
    Phase phase = Phase::kLoading;
    std::uint64_t schedule = 0;
    std::uint64_t events = 0;
    std::uint32_t decisions = 0;
    bool operator==(const Progress&) const = default;
  };

  WorkerProcess() = default;
  bool make_state(std::span<const std::uint16_t> replay);
  [[noreturn]] void become_worker(const std::vector<std::string>& arguments, pid_t supervisor) const;
  double cpu_seconds() const;
  std::string own_fault() const;
  std::string last_words() const;

  pid_t process_ = -1;
  int messages_ = -1;
  int worker_messages_ = -1;  // the worker's end, until it is started
  int memory_ = -1;
  int errors_ = -1;  // its standard error, in memory
  SharedState* state_ = nullptr;
  module::Variant variant_ = module::Variant::kPlain;
  std::string unfinished_;  // the beginning of a message
  bool garbled_ = false;
  Progress seen_;
  double cpu_then_ = 0;  // when seen_ was new
  double wall_then_ = 0;
  double told_at_ = 0;  // when it was told to say where it is stuck; 0: not yet
  std::string failure_;
};

}  // namespace nmrfuzz::fuzz
