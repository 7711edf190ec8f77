#include "fuzz/replayer.h"

#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <chrono>

#include "fuzz/event_text.h"
#include "fuzz/words.h"
#include "fuzz/worker_process.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr int kWatchMilliseconds = 100;

WorkerOrder order_for(const ModuleSet& modules, const Reproducer& reproducer, module::Variant build, Task task) {
  WorkerOrder order;
  order.task = task;
  order.images = modules.images(build);
  order.conditions.step_limit = reproducer.step_limit;
  order.conditions.strict = reproducer.strict;
  order.conditions.access_points = reproducer.access_points;
  order.strategy = "random";
  order.seed = reproducer.seed;
  order.events = reproducer.events;
  return order;
}

// Waits for the worker's end; everything it says is in `messages`.
WorkerEnd run_to_end(WorkerProcess& worker, std::vector<WorkerMessage>& messages) {
  while (worker.receive(messages)) {
    struct pollfd wait = {worker.descriptor(), POLLIN, 0};
    poll(&wait, 1, kWatchMilliseconds);
    worker.watch();
  }
  return worker.finish();
}

// What a worker that died would have said of its last execution.
Replayed replayed_by_death(const SharedState& state, std::uint64_t events) {
  Replayed replayed;
  replayed.kind = contract::name_of(state.death.kind);
  replayed.hash = state.ring.hash;
  replayed.events = state.ring.written;
  replayed.hash_at_events = events == replayed.events ? replayed.hash : 0;
  return replayed;
}

std::string how_it_differs(const Reproducer& reproducer, const Replayed& replayed) {
  const std::string end = replayed.kind.empty() ? fmt::format("no finding, trace hash {}", hash_text(replayed.hash))
                                                : fmt::format("{} {}after {} events, trace hash {}", replayed.kind,
                                                              replayed.rule.empty() ? "" : "(" + replayed.rule + ") ",
                                                              replayed.events, hash_text(replayed.hash));
  if (replayed.diverged_at >= 0) {
    return fmt::format("diverged at event {}: {}", replayed.diverged_at, end);
  }
  return fmt::format("diverged at or before event {}: {}, recorded {} after {} events, trace hash {}",
                     std::min(replayed.events, reproducer.events), end, contract::name_of(reproducer.kind),
                     reproducer.events, hash_text(reproducer.trace_hash));
}

class Replay {
 public:
  Replay(const ModuleSet& modules, const Reproducer& reproducer, module::Variant build)
      : modules_(modules),
        reproducer_(reproducer),
        build_(build),
        same_source_(modules.source_hash == reproducer.source_hash) {}

  ReplayResult run(std::uint64_t times) {
    const auto start = std::chrono::steady_clock::now();
    while (result_.times < times && run_worker_once(times - result_.times)) {
    }
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return std::move(result_);
  }

 private:
  // Until the worker has done `times` repetitions, or is dead. Whether another is to go on from there.
  bool run_worker_once(std::uint64_t times) {
    WorkerOrder order = order_for(modules_, reproducer_, build_, Task::kReplay);
    order.times = times;
    const auto worker = WorkerProcess::start(std::move(order), build_, log_of(reproducer_), result_.fault);
    if (worker == nullptr) {
      return false;
    }
    std::vector<WorkerMessage> messages;
    const WorkerEnd end = run_to_end(*worker, messages);
    for (const WorkerMessage& message : messages) {
      if (const auto* replayed = std::get_if<Replayed>(&message)) {
        add(*replayed);
      } else if (const auto* failure = std::get_if<CannotLoad>(&message)) {
        result_.unusable = load_failure_text(modules_, *failure);
      }
    }
    result_.decisions += worker->state().decisions_done;
    if (end == WorkerEnd::kModuleDied) {
      add(replayed_by_death(worker->state(), reproducer_.events));
    } else if (end == WorkerEnd::kFault) {
      result_.fault = worker->failure();
    }
    return end == WorkerEnd::kModuleDied;
  }

  void add(const Replayed& replayed) {
    Judged judged = judge(reproducer_, replayed, build_, same_source_);
    result_.hash = result_.times == 0 ? replayed.hash : result_.hash;
    result_.reproduced += judged.verdict == Verdict::kReproduced ? 1 : 0;
    if (result_.times++ == 0 || judged.verdict > result_.worst.verdict) {
      result_.worst = std::move(judged);
    }
  }

  const ModuleSet& modules_;
  const Reproducer& reproducer_;
  module::Variant build_;
  bool same_source_;
  ReplayResult result_;
};

}  // namespace

Judged judge(const Reproducer& reproducer, const Replayed& replayed, module::Variant build, bool same_source) {
  const bool same_finding = replayed.kind == contract::name_of(reproducer.kind) && replayed.rule == reproducer.rule;
  if (same_finding && replayed.hash == reproducer.trace_hash) {
    return {Verdict::kReproduced, ""};
  }
  const bool same_events = replayed.hash_at_events == reproducer.trace_hash;
  // Not seen where it happened; whatever came of it later is a consequence.
  if (same_events && build != reproducer.build) {
    return {Verdict::kReached, ""};
  }
  const std::string text = how_it_differs(reproducer, replayed);
  if (same_finding && !same_source) {
    return {Verdict::kMoved, text};
  }
  if (replayed.kind.empty() && (same_events || !same_source)) {
    return {Verdict::kGone, ""};
  }
  return {Verdict::kDiverged, text};
}

ReplayResult replay(const ModuleSet& modules, const Reproducer& reproducer, module::Variant build,
                    std::uint64_t times) {
  return Replay(modules, reproducer, build).run(times);
}

std::vector<std::string> trace(const ModuleSet& modules, const Reproducer& reproducer, std::string& error) {
  std::vector<std::string> lines;
  const WorkerOrder order = order_for(modules, reproducer, module::Variant::kPlain, Task::kTrace);
  const auto worker = WorkerProcess::start(order, module::Variant::kPlain, log_of(reproducer), error);
  if (worker == nullptr) {
    return lines;
  }
  std::vector<WorkerMessage> messages;
  const WorkerEnd end = run_to_end(*worker, messages);
  for (WorkerMessage& message : messages) {
    if (auto* line = std::get_if<TraceLine>(&message)) {
      lines.push_back(std::move(line->text));
    } else if (const auto* failure = std::get_if<CannotLoad>(&message)) {
      error = load_failure_text(modules, *failure);
    }
  }
  if (end == WorkerEnd::kModuleDied) {
    const trace::EventRing& ring = worker->state().ring;
    const std::uint64_t held = std::min<std::uint64_t>(ring.written, trace::EventRing::kCapacity);
    for (std::uint64_t number = ring.written - held; number < ring.written; ++number) {
      lines.push_back(line_of(ring.events[number % trace::EventRing::kCapacity], number));
    }
  } else if (end == WorkerEnd::kFault) {
    error = worker->failure();
  }
  return lines;
}

Places name_places(const ModuleSet& modules, module::Variant build, const Death& death) {
  WorkerOrder order;
  order.task = Task::kPlaces;
  order.images = modules.images(build);
  order.places.assign(death.places.begin(), death.places.begin() + death.place_count);
  std::string ignored;
  const auto worker = WorkerProcess::start(std::move(order), build, {}, ignored);
  if (worker == nullptr) {
    return {};
  }
  std::vector<WorkerMessage> messages;
  run_to_end(*worker, messages);
  for (WorkerMessage& message : messages) {
    if (auto* places = std::get_if<Places>(&message)) {
      return std::move(*places);
    }
  }
  return {};
}

std::string load_failure_text(const ModuleSet& modules, const CannotLoad& failure) {
  for (const ModuleUnderTest& module : modules.modules) {
    for (const std::string& path : module.shared_objects) {
      if (path == failure.image && failure.text.starts_with(path)) {
        return module.name + failure.text.substr(path.size());
      }
    }
  }
  return failure.text;
}

}  // namespace nmrfuzz::fuzz
