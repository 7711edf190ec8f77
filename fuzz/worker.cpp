#include "fuzz/worker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <memory>
#include <tuple>

#include "fuzz/engine.h"
#include "fuzz/exit_status.h"
#include "fuzz/exploration.h"
#include "fuzz/failure_statistics.h"
#include "fuzz/nearby.h"
#include "fuzz/scenario_codec.h"
#include "fuzz/shared_state.h"
#include "fuzz/worker_message.h"
#include "module/symbolizer.h"
#include "schedule/replay.h"

namespace nmrfuzz::fuzz {

namespace {

// Replays, and remembers where the execution stopped being the recorded one.
class WatchedReplay final : public schedule::Strategy {
 public:
  WatchedReplay(std::span<const std::uint16_t> decisions, const trace::EventRing& ring)
      : replay_(decisions), count_(decisions.size()), ring_(ring) {}

  std::string_view name() const override { return replay_.name(); }
  void begin(std::uint64_t seed) override {
    replay_.begin(seed);
    diverged_at_ = -1;
  }
  trace::ThreadNumber pick(const schedule::Choices& choices) override {
    const trace::ThreadNumber picked = replay_.pick(choices);
    notice();
    return picked;
  }
  std::uint32_t choose(std::uint32_t alternatives, schedule::ChoiceKind kind) override {
    const std::uint32_t chosen = replay_.choose(alternatives, kind);
    notice();
    return chosen;
  }

  std::int64_t diverged_at() const { return diverged_at_; }
  std::size_t left() const { return count_ - replay_.used(); }

 private:
  void notice() {
    if (replay_.diverged() && diverged_at_ < 0) {
      diverged_at_ = static_cast<std::int64_t>(ring_.written);
    }
  }

  schedule::Replay replay_;
  std::size_t count_;
  const trace::EventRing& ring_;
  std::int64_t diverged_at_ = -1;
};

// The hash after the first `events` events; 0 if there were fewer, or the ring does not hold them any more.
trace::TraceHash hash_after(const trace::EventRing& ring, std::uint64_t events) {
  if (events > ring.written || ring.written > trace::EventRing::kCapacity) {
    return 0;
  }
  trace::TraceHash hash = trace::kEmptyHash;
  for (std::uint64_t i = 0; i < events; ++i) {
    hash = trace::extend(hash, ring.events[i]);
  }
  return hash;
}

class Worker {
 public:
  explicit Worker(WorkerOrder order) : order_(std::move(order)) {}

  int run();

 private:
  bool map_state();
  bool load_images();
  void send(const WorkerMessage& message) const;

  void hunt(Engine& engine);
  void tell(FailureStatistics& failures) const;
  Report explain(Engine& engine, const Execution& execution, std::string_view strategy);
  void explain_note(Engine& engine, const Execution& execution);
  bool worth_explaining(const contract::Finding& finding);
  void replay(Engine& engine);
  void trace(Engine& engine);
  void name_places();

  const WorkerOrder order_;
  SharedState* state_ = nullptr;
  std::vector<std::unique_ptr<module::Image>> images_;
  std::map<std::tuple<contract::FindingKind, std::string_view, trace::RoutineNumber>, std::uint64_t> explained_;
};

bool Worker::map_state() {
  void* const memory = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED, order_.shared, 0);
  if (memory == MAP_FAILED) {
    return false;
  }
  state_ = static_cast<SharedState*>(memory);
  // Programs that we start must not hold the pipe open.
  return fcntl(order_.messages, F_SETFD, FD_CLOEXEC) == 0 && fcntl(order_.shared, F_SETFD, FD_CLOEXEC) == 0 &&
         state_->bytes == sizeof(SharedState);
}

void Worker::send(const WorkerMessage& message) const {
  const std::string line = encode(message) + "\n";
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = write(order_.messages, rest.data(), rest.size());
    if (written < 0 && errno != EINTR) {
      _exit(kHarnessFault);  // nobody listens any more
    }
    rest.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
}

bool Worker::load_images() {
  for (const std::string& path : order_.images) {
    auto loaded = module::Image::load(path);
    if (const auto* failure = std::get_if<module::LoadFailure>(&loaded)) {
      send(CannotLoad{path, failure->message});
      return false;
    }
    images_.push_back(std::move(std::get<std::unique_ptr<module::Image>>(loaded)));
  }
  return true;
}

int Worker::run() {
  if (!map_state()) {
    std::fputs("nmrfuzz worker: the programs in this folder are not of one build\n", stderr);
    return kHarnessFault;
  }
  if (!load_images()) {
    return kUnusable;
  }
  watch_for_death(state_->death, images_);
  if (order_.task == Task::kPlaces) {
    name_places();
    return kClean;
  }
  std::vector<module::Image*> images;
  images.reserve(images_.size());
  for (const auto& image : images_) {
    images.push_back(image.get());
  }
  Settings settings;
  settings.any_world = order_.conditions.any_world;
  settings.world = order_.conditions.world;
  settings.faults = order_.conditions.faults != Faults::kOff;
  settings.watch_failures = order_.conditions.faults == Faults::kSweep;
  settings.one_peer = order_.conditions.one_peer;
  settings.strict = order_.conditions.strict;
  settings.access_points = order_.conditions.access_points;
  settings.step_limit = order_.conditions.step_limit;

  state_->phase = Phase::kProbing;
  Engine engine(state_->ring, state_->decisions, images, settings);
  const std::uint32_t registrations = engine.probe().registrations;
  state_->registrations = registrations;
  send(Ready{registrations, engine.npis_provided(), engine.npis_consumed()});
  switch (order_.task) {
    case Task::kReplay:
      replay(engine);
      break;
    case Task::kTrace:
      trace(engine);
      break;
    default:
      hunt(engine);
      break;
  }
  state_->phase = Phase::kDone;
  return kClean;
}

void Worker::hunt(Engine& engine) {
  Exploration exploration(engine, order_.strategy, order_.conditions.faults == Faults::kSweep);
  Nearby nearby(engine, exploration, order_.strategy, state_->replay.view());
  const bool with_log = state_->replay.count != 0;
  const std::uint64_t end = order_.sweep_only ? std::min(order_.end, exploration.sweep()->size()) : order_.end;
  FailureStatistics failures;
  // A module that registered nothing in so many schedules will not register anything.
  constexpr std::uint64_t kPatience = 1000;
  constexpr std::uint64_t kSchedulesPerTelling = 1024;
  std::uint64_t done = 0;
  for (std::uint64_t number = order_.first; number < end; number += order_.stride) {
    if (number >= state_->stop_before.load(std::memory_order_relaxed) ||
        (done >= kPatience && state_->registrations == 0)) {
      break;
    }
    state_->schedule.store(number, std::memory_order_relaxed);
    state_->phase.store(Phase::kRunning, std::memory_order_relaxed);
    const Execution execution = nearby.run(order_.seed, number);
    state_->schedules_done.store(++done, std::memory_order_relaxed);
    state_->decisions_done.fetch_add(execution.decisions, std::memory_order_relaxed);
    state_->registrations.fetch_add(execution.registrations, std::memory_order_relaxed);
    if (execution.end == schedule::EndReason::kOutOfThreads) {
      state_->cut_short.fetch_add(1, std::memory_order_relaxed);
    }
    failures.count(engine.failure_sites(), execution.finding.has_value());
    if (done % kSchedulesPerTelling == 0) {
      tell(failures);
    }
    if (execution.note) {
      explain_note(engine, execution);
    }
    if (execution.finding) {
      const Report report = explain(engine, execution, Nearby::name_of_schedule(order_.strategy, number, with_log));
      if (!order_.keep_going && (!order_.wanted.anything() || order_.wanted.is(report))) {
        break;
      }
    }
  }
  tell(failures);
}

void Worker::tell(FailureStatistics& failures) const {
  for (SiteReport& report : failures.take(images_)) {
    send(std::move(report));
  }
}

// To put a finding into words takes as long as thousands of executions: the tenth of a kind is mostly the ninth again.
bool Worker::worth_explaining(const contract::Finding& finding) {
  constexpr std::uint64_t kAlways = 8;
  const std::uint64_t count = ++explained_[{finding.kind, finding.rule, finding.event.routine}];
  return count <= kAlways || (count & (count - 1)) == 0;
}

// Sends it. The report is empty if it is not worth it.
Report Worker::explain(Engine& engine, const Execution& execution, std::string_view strategy) {
  const contract::Finding& finding = *execution.finding;
  if (!order_.wanted.may_be(contract::name_of(finding.kind), finding.rule) && !worth_explaining(finding)) {
    return {};
  }
  state_->phase = Phase::kDescribing;
  Found found;
  found.schedule = state_->schedule;
  found.strategy = strategy;
  found.hash = execution.hash;
  found.events = execution.events;
  const auto log = state_->decisions.view();
  found.decisions.assign(log.begin(), log.end());
  found.report = engine.describe(found.decisions);
  send(found);
  return found.report;
}

// Leaves the decisions as they are.
void Worker::explain_note(Engine& engine, const Execution& execution) {
  state_->phase = Phase::kDescribing;
  const auto log = state_->decisions.view();
  Noted noted;
  noted.schedule = state_->schedule;
  noted.hash = execution.note->hash;
  noted.report = engine.describe_note(log, *execution.note);
  if (!noted.report.kind.empty()) {
    send(noted);
  }
}

void Worker::replay(Engine& engine) {
  std::size_t used = 0;
  const auto recorded = decode_scenario(state_->replay.view(), used);
  if (!recorded) {
    std::fputs("nmrfuzz worker: what is to be replayed has no scenario\n", stderr);
    _exit(kHarnessFault);
  }
  const Scenario scenario = fitted(recorded->scenario, engine.shape());
  WatchedReplay strategy(state_->replay.view().subspan(used), state_->ring);
  for (std::uint64_t i = 0; i < order_.times; ++i) {
    state_->schedule = i;
    state_->phase = Phase::kRunning;
    const Execution execution = engine.run(strategy, 0, scenario);
    Replayed replayed;
    if (execution.finding) {
      replayed.kind = contract::name_of(execution.finding->kind);
      replayed.rule = execution.finding->rule;
    }
    replayed.hash = execution.hash;
    replayed.events = execution.events;
    replayed.hash_at_events = hash_after(state_->ring, order_.events);
    replayed.diverged_at = strategy.diverged_at();
    replayed.decisions_left = strategy.left();
    state_->schedules_done = i + 1;
    state_->decisions_done += execution.decisions;
    state_->registrations += execution.registrations;
    send(replayed);
  }
}

void Worker::trace(Engine& engine) {
  state_->phase = Phase::kRunning;
  for (std::string& line : engine.trace(state_->replay.view())) {
    send(TraceLine{std::move(line)});
  }
}

void Worker::name_places() {
  module::Symbolizer symbolizer;
  Places answer;
  for (const CodePlace& place : order_.places) {
    if (place.image >= images_.size()) {
      continue;
    }
    const module::Image& image = *images_[place.image];
    for (const module::SourceFrame& frame : symbolizer.describe_call(image, place.offset + image.load_address())) {
      std::string line = frame.function + " " + frame.file + ":" + std::to_string(frame.line);
      // A recursion that overflows the stack is said once.
      if (answer.stack.empty() || answer.stack.back() != line) {
        answer.stack.push_back(std::move(line));
        answer.functions.push_back(frame.function);
      }
    }
  }
  send(answer);
}

}  // namespace

int run_worker(const char* order) {
  std::optional<WorkerOrder> decoded = decode_order(order);
  if (!decoded) {
    std::fputs("nmrfuzz worker: for the use of nmrfuzz itself only\n", stderr);
    return kUnusable;
  }
  return Worker(std::move(*decoded)).run();
}

}  // namespace nmrfuzz::fuzz
