#include "fuzz/worker_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>

#include "fuzz/exit_status.h"
#include "fuzz/worker.h"
#include "module/files.h"

namespace nmrfuzz::fuzz {

namespace {

// Of processor time without an event or decision. A whole execution takes milliseconds.
constexpr double kStuckCpuSeconds = 3;
// As above for a process that does not even use its processor, or loads for ever.
constexpr double kStuckWallSeconds = 120;
constexpr double kGraceSeconds = 2;
constexpr rlim_t kMemoryLimit = rlim_t{8} << 30;  // of address space

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string program_of(module::Variant variant) {
  // A sanitizer's own build tree has one program only, which is of that sanitizer.
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  constexpr std::string_view kOwn = NMRFUZZ_VARIANT;
  const std::filesystem::path folder = self.parent_path();
  if (name_of(variant) == kOwn) {
    return self;
  }
  return folder / (variant == module::Variant::kPlain ? "nmrfuzz" : fmt::format("nmrfuzz-{}", name_of(variant)));
}

}  // namespace

std::unique_ptr<WorkerProcess> WorkerProcess::start(WorkerOrder order, module::Variant variant,
                                                    std::span<const std::uint16_t> replay, std::string& error) {
  std::unique_ptr<WorkerProcess> worker(new WorkerProcess);
  worker->variant_ = variant;
  const std::string program = program_of(variant);
  if (access(program.c_str(), X_OK) != 0) {
    error = fmt::format("cannot run {}: {}; build it, it belongs beside nmrfuzz", program, module::last_error());
    return nullptr;
  }
  std::array<int, 2> ends{};
  worker->memory_ = memfd_create("nmrfuzz-state", MFD_CLOEXEC);
  worker->errors_ = memfd_create("nmrfuzz-errors", MFD_CLOEXEC);
  if (!worker->make_state(replay) || worker->errors_ < 0 || pipe2(ends.data(), O_CLOEXEC) != 0) {
    error = fmt::format("cannot start a worker: {}", module::last_error());
    return nullptr;
  }
  worker->messages_ = ends[0];
  worker->worker_messages_ = ends[1];
  fcntl(worker->messages_, F_SETFL, O_NONBLOCK);
  order.shared = worker->memory_;
  order.messages = worker->worker_messages_;
  const std::vector<std::string> arguments = {program, kWorkerArgument, encode(order)};
  const pid_t supervisor = getpid();
  worker->process_ = fork();
  if (worker->process_ == 0) {
    worker->become_worker(arguments, supervisor);
  }
  close(worker->worker_messages_);
  if (worker->process_ < 0) {
    error = fmt::format("cannot start a worker: {}", module::last_error());
    return nullptr;
  }
  worker->wall_then_ = seconds_now();
  return worker;
}

bool WorkerProcess::make_state(std::span<const std::uint16_t> replay) {
  if (memory_ < 0 || ftruncate(memory_, sizeof(SharedState)) != 0) {
    return false;
  }
  void* const memory = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0);
  if (memory == MAP_FAILED) {
    return false;
  }
  state_ = new (memory) SharedState;
  state_->replay.count = static_cast<std::uint32_t>(replay.size());
  std::copy(replay.begin(), replay.end(), state_->replay.values.begin());
  return true;
}

// Between fork and exec.
void WorkerProcess::become_worker(const std::vector<std::string>& arguments, pid_t supervisor) const {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != supervisor) {
    _exit(kHarnessFault);  // it died before the line above
  }
  // An interrupt from the terminal is the supervisor's matter.
  signal(SIGINT, SIG_IGN);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, STDIN_FILENO);
  dup2(nothing, STDOUT_FILENO);
  dup2(errors_, STDERR_FILENO);
  fcntl(memory_, F_SETFD, 0);
  fcntl(worker_messages_, F_SETFD, 0);
  const struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (variant_ == module::Variant::kPlain && std::string_view(NMRFUZZ_VARIANT) == "plain") {
    const struct rlimit memory = {kMemoryLimit, kMemoryLimit};
    setrlimit(RLIMIT_AS, &memory);
  }
  setenv("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1:handle_abort=0:exitcode=87", 1);
  setenv("TSAN_OPTIONS", "handle_segv=0:report_signal_unsafe=0:atexit_sleep_ms=0:halt_on_error=1", 1);
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  execv(pointers[0], pointers.data());
  _exit(kHarnessFault);
}

WorkerProcess::~WorkerProcess() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (state_ != nullptr) {
    munmap(state_, sizeof(SharedState));
  }
  for (const int descriptor : {messages_, memory_, errors_}) {
    if (descriptor >= 0) {
      close(descriptor);
    }
  }
}

bool WorkerProcess::receive(std::vector<WorkerMessage>& messages) {
  std::array<char, 64 << 10> buffer;
  bool open = true;
  for (;;) {
    const ssize_t got = read(messages_, buffer.data(), buffer.size());
    if (got > 0) {
      unfinished_.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      open = got != 0 && errno == EAGAIN;
      break;
    }
  }
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = unfinished_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    if (auto message = decode_message(std::string_view(unfinished_).substr(begin, end - begin))) {
      messages.push_back(std::move(*message));
    } else {
      garbled_ = true;
    }
  }
  unfinished_.erase(0, begin);
  return open;
}

double WorkerProcess::cpu_seconds() const {
  clockid_t clock{};
  struct timespec time = {};
  if (clock_getcpuclockid(process_, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    return 0;
  }
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void WorkerProcess::watch() {
  const double now = seconds_now();
  if (told_at_ != 0) {
    if (now - told_at_ > kGraceSeconds) {
      kill(process_, SIGKILL);
    }
    return;
  }
  // Read while they are written: each is one word, and only whether they change matters.
  const auto word = [](const auto& value) {
    return *const_cast<const volatile std::decay_t<decltype(value)>*>(&value);
  };
  const Progress progress = {state_->phase, state_->schedule, word(state_->ring.written),
                             word(state_->decisions.count)};
  const double cpu = cpu_seconds();
  if (progress != seen_) {
    seen_ = progress;
    cpu_then_ = cpu;
    wall_then_ = now;
    return;
  }
  const bool executes = progress.phase == Phase::kProbing || progress.phase == Phase::kRunning;
  const double patience = variant_ == module::Variant::kPlain ? kStuckCpuSeconds : 2 * kStuckCpuSeconds;
  if ((executes && cpu - cpu_then_ > patience) || now - wall_then_ > kStuckWallSeconds) {
    told_at_ = now;
    kill(process_, executes ? kStuckSignal : SIGKILL);
  }
}

// The end of what it wrote to its standard error.
std::string WorkerProcess::last_words() const {
  constexpr off_t kMost = 8 << 10;
  const off_t size = lseek(errors_, 0, SEEK_END);
  const off_t begin = size > kMost ? size - kMost : 0;
  std::string text(static_cast<std::size_t>(size > 0 ? size - begin : 0), '\0');
  const ssize_t got = pread(errors_, text.data(), text.size(), begin);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text.empty() ? text : "\nits last words:\n" + text;
}

// What killed the worker, and where in this program: llvm-symbolizer names the addresses.
std::string WorkerProcess::own_fault() const {
  const Death& death = state_->death;
  std::string text =
      fmt::format("nmrfuzz itself failed: {}", death.signal == 0 ? death.what.data() : strsignal(death.signal));
  for (std::uint32_t i = 0; i < death.own_count; ++i) {
    text += fmt::format("{}{:#x}", i == 0 ? ", at " : " ", death.own[i]);
  }
  return text;
}

WorkerEnd WorkerProcess::finish() {
  int status = 0;
  while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
  if (state_->death.recorded.load(std::memory_order_acquire)) {
    if (state_->death.kind != contract::FindingKind::kHarnessFault) {
      return WorkerEnd::kModuleDied;
    }
    failure_ = own_fault();
  } else if (WIFSIGNALED(status)) {
    failure_ = told_at_ != 0 ? "a worker made no progress and was ended"
                             : fmt::format("a worker was killed: {}", strsignal(WTERMSIG(status)));
  } else if (WEXITSTATUS(status) == kClean && !garbled_ && unfinished_.empty()) {
    return WorkerEnd::kDone;
  } else if (WEXITSTATUS(status) == kUnusable) {
    return WorkerEnd::kCannotLoad;
  } else {
    failure_ = fmt::format("a worker ended with status {}", WEXITSTATUS(status));
  }
  failure_ += last_words();
  return WorkerEnd::kFault;
}

}  // namespace nmrfuzz::fuzz
