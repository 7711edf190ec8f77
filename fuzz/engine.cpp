#include "fuzz/engine.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "contract/rules.h"
#include "fuzz/narrator.h"
#include "fuzz/npi_uses.h"
#include "kernel/kernel.h"
#include "kernel/status.h"
#include "module/driver.h"
#include "nmr/fiber_port.h"
#include "peers/peers.h"
#include "race/accesses.h"
#include "schedule/byte_source.h"
#include "schedule/replay.h"

namespace nmrfuzz::fuzz {

using schedule::EndReason;
using trace::EventKind;

static_assert(std::size_t{ScenarioShape::kNpisMaximum} * Scenario::kPeersPerNpi <= peers::Peers::kMaximum);
static_assert(ScenarioShape::kModulesMaximum <= kernel::Kernel::kModulesMaximum);

// Everything that lives as long as the engine. Also the sink: the first finding of an execution ends it.
struct Engine::Parts final : contract::FindingSink {
  Parts(trace::EventRing& ring, schedule::DecisionLog& decision_log, std::span<module::Image* const> loaded,
        const Settings& chosen)
      : recorder(ring),
        decisions(decision_log),
        scheduler(recorder, decision_log),
        kernel(scheduler),
        registrar(nmr::FiberPort(kernel)),
        peers(kernel, registrar),
        images(loaded.begin(), loaded.end()),
        settings(chosen) {
    constexpr std::size_t kNotes = 40;
    notes_met.reserve(kNotes);
    if (settings.watch_failures) {
      failures.emplace(recorder, images);
    }
    if (settings.access_points) {
      accesses.emplace(kernel);
    }
    if (settings.rules) {
      rules.emplace(recorder, *this);
    }
    for (std::size_t i = 0; i < images.size(); ++i) {
      const auto number = static_cast<trace::ModuleNumber>(i + 1);
      kernel.set_code(number, images[i]->text().begin, images[i]->text().end);
      drivers.push_back(std::make_unique<module::Driver>(kernel, number, images[i]->entry()));
    }
  }

  // A data race is not the end: what comes of it may be graver.
  void report(contract::Finding found) override {
    if (found.kind == contract::FindingKind::kDataRace) {
      if (!race) {
        race = found;
        if (narrator != nullptr) {
          narrator->on_finding(found);
        }
      }
      return;
    }
    finding = found;
    if (narrator != nullptr) {
      narrator->on_finding(*finding);
    }
    scheduler.end(EndReason::kStopped);
  }

  // A note is kept if there was none of its rule, routine and module before, and there are not too many already.
  void note(contract::Finding made) override {
    if (settings.strict) {
      report(made);
    }
    if (narrator != nullptr) {
      narrator->on_note(made);
    }
    const auto known = std::find_if(notes_met.begin(), notes_met.end(), [&](const contract::Finding& met) {
      return met.rule == made.rule && met.event.routine == made.event.routine && met.event.module == made.event.module;
    });
    if (known == notes_met.end() && notes_met.size() < notes_met.capacity() && !first_note) {
      notes_met.push_back(made);
      first_note = made;
    }
  }

  Execution run(schedule::Strategy& strategy, std::uint64_t seed, const Scenario* given);
  void prepare(schedule::Strategy& strategy, std::uint64_t seed, const Scenario* given);
  void log_scenario();
  void set_the_scene();
  Execution repeat(std::span<const std::uint16_t> recorded);
  Report narrate(std::span<const std::uint16_t> decided, const contract::Finding& expected, trace::TraceHash hash);
  void learn_npis();
  std::uint32_t count_registrations() const;

  static void load(void* life);
  void await_moment_of_unload(const ModulePlan& plan);

  // One loader thread's argument.
  struct Life {
    Parts* parts = nullptr;
    module::Driver* driver = nullptr;
    module::Image* image = nullptr;
    ModulePlan plan;
  };

  trace::Recorder recorder;
  schedule::DecisionLog& decisions;
  schedule::Scheduler scheduler;
  kernel::Kernel kernel;
  nmr::FiberRegistrar registrar;
  peers::Peers peers;
  std::vector<module::Image*> images;
  std::optional<FailureWatch> failures;  // sees an event before a rule may end the execution
  std::optional<race::Accesses> accesses;
  std::optional<contract::Rules> rules;
  std::vector<std::unique_ptr<module::Driver>> drivers;
  std::vector<Life> lives;
  NpiUses uses;  // of the modules under test, learned by the probe
  Settings settings;
  ScenarioShape shape;
  ScenarioLimits limits;
  Scenario scenario;  // of the execution
  std::uint32_t scenario_numbers = 0;
  Execution probed;
  std::optional<contract::Finding> finding;
  std::optional<contract::Finding> race;        // the first of the execution
  std::vector<contract::Finding> notes_met;     // in all executions
  std::optional<contract::Finding> first_note;  // of this one
  std::size_t modules_left = 0;
  Narrator* narrator = nullptr;
};

// The execution in force for the C entry points, for a scope.
class InForce {
 public:
  InForce(kernel::Kernel& kernel, nmr::FiberRegistrar& registrar, race::Accesses* accesses)
      : kernel_(kernel::set_current_kernel(&kernel)),
        registrar_(nmr::set_current_registrar(&registrar)),
        accesses_(std::exchange(race::accesses_in_force, accesses)) {}
  ~InForce() {
    race::accesses_in_force = accesses_;
    kernel::set_current_kernel(kernel_);
    nmr::set_current_registrar(registrar_);
  }
  InForce(const InForce&) = delete;
  InForce& operator=(const InForce&) = delete;

 private:
  kernel::Kernel* kernel_;
  nmr::FiberRegistrar* registrar_;
  race::Accesses* accesses_;
};

// Everything is decided in here or later, by the strategy: first what the execution is about.
void Engine::Parts::prepare(schedule::Strategy& strategy, std::uint64_t seed, const Scenario* given) {
  for (module::Image* const image : images) {
    image->reset();
  }
  finding.reset();
  race.reset();
  first_note.reset();
  recorder.reset();
  if (failures) {
    failures->reset();
  }
  if (rules) {
    rules->reset();
  }
  strategy.begin(seed);
  scheduler.reset(strategy, settings.step_limit);
  if (given != nullptr) {
    scenario = *given;
  } else {
    draw_scenario(strategy, limits, shape, scenario);
  }
  log_scenario();
  set_the_scene();
}

void Engine::Parts::log_scenario() {
  const std::size_t count = encode_scenario(scenario, shape, decisions.values);
  if (count > decisions.values.size()) {
    std::abort();  // a log that could not hold it could not be replayed
  }
  scenario_numbers = static_cast<std::uint32_t>(count);
  decisions.count = scenario_numbers;
}

void Engine::Parts::set_the_scene() {
  kernel::Options options;
  options.faults = scenario.faults.mode == FaultMode::kDrawn;
  options.failing_calls = {scenario.faults.calls[0], scenario.faults.calls[1]};
  kernel.reset(options);
  registrar.reset(scenario.world);
  if (accesses) {
    accesses->reset(scenario.preemptions);
  }
  peers.reset();
  for (const PeerPlan& peer : scenario.peers) {
    peers.add(uses.peered()[peer.npi - 1], peer.behaviour);
  }
  lives.clear();
  modules_left = drivers.size();
  for (std::size_t i = 0; i < drivers.size(); ++i) {
    drivers[i]->reset();
    lives.push_back({this, drivers[i].get(), images[i], scenario.modules[i]});
  }
}

Execution Engine::Parts::run(schedule::Strategy& strategy, std::uint64_t seed, const Scenario* given) {
  const InForce in_force(kernel, registrar, accesses ? &*accesses : nullptr);
  prepare(strategy, seed, given);
  kernel.spawn(schedule::ThreadRole::kLoader, &Parts::load, lives.data(), kernel::kPassiveLevel);
  Execution execution;
  execution.end = scheduler.run();
  if (!finding) {
    scheduler.write(EventKind::kEnd, 0);
    std::swap(finding, race);
  }
  execution.finding = finding;
  execution.race = race;
  execution.accesses = accesses ? accesses->count() : 0;
  execution.note = first_note;
  execution.hash = finding ? finding->hash : recorder.hash();
  execution.events = finding ? finding->event_number + 1 : recorder.size();
  execution.steps = scheduler.steps();
  execution.decisions = decisions.count - scenario_numbers;
  execution.fallible_calls = kernel.fallible_calls();
  execution.registrations = count_registrations();
  return execution;
}

// A loader thread: one module from DriverEntry to the end of its last life. That of the first module is the first
// thread of all; it sets the scene and lets the others load beside it.
void Engine::Parts::load(void* argument) {
  const Life& life = *static_cast<Life*>(argument);
  Parts& self = *life.parts;
  const bool first = &life == self.lives.data();
  if (first) {
    self.peers.arrive_before();
    for (Life& other : std::span(self.lives).subspan(1)) {
      self.kernel.spawn(schedule::ThreadRole::kLoader, &Parts::load, &other, kernel::kPassiveLevel);
    }
  }
  for (std::uint8_t lived = 1;; ++lived) {
    const bool entered = kernel::succeeded(life.driver->enter());
    if (first && lived == 1) {
      self.peers.arrive_after();
    }
    if (entered && life.driver->can_unload()) {
      self.await_moment_of_unload(life.plan);
      // Long-lived timers have used theirs up by now, and unload is where they are taken back.
      self.scheduler.renew_early_ticks();
      life.driver->unload();
    }
    if (lived == life.plan.lives || !life.driver->can_reload()) {
      break;
    }
    life.driver->reload(*life.image);
  }
  if (--self.modules_left == 0) {
    self.peers.release();
  }
}

void Engine::Parts::await_moment_of_unload(const ModulePlan& plan) {
  switch (plan.moment) {
    case UnloadMoment::kAtRest:
      scheduler.wait_until_idle();
      break;
    case UnloadMoment::kAtOnce:
      break;
    case UnloadMoment::kSoon:
      for (std::uint8_t left = plan.steps; left > 0; --left) {
        scheduler.yield({});
      }
      break;
  }
}

std::uint32_t Engine::Parts::count_registrations() const {
  std::uint32_t count = 0;
  for (trace::ObjectNumber number = 1; number <= registrar.registrations(); ++number) {
    const nmr::Registration& registration = registrar.registration(number);
    count += registration.module != 0 && registration.state != nmr::RegistrationState::kNone ? 1 : 0;
  }
  return count;
}

// Runs the execution in which every decision is its first alternative, until it shows no NPI that was not known before:
// modules may register more once a peer has attached.
void Engine::Parts::learn_npis() {
  constexpr int kRounds = 4;
  schedule::ByteSource first_alternatives({});
  for (int round = 0; round < kRounds; ++round) {
    const Scenario plain = plain_scenario(shape);
    probed = run(first_alternatives, 0, &plain);
    if (!uses.learn(registrar)) {
      break;
    }
    shape.npis = static_cast<std::uint32_t>(uses.peered().size());
  }
  limits = {settings.any_world, settings.world,          settings.faults,
            settings.one_peer,  kernel.fallible_calls(), static_cast<std::uint32_t>(probed.accesses)};
}

// The execution that a decision log decides: its scenario, then the answers.
Execution Engine::Parts::repeat(std::span<const std::uint16_t> recorded) {
  std::size_t used = 0;
  const auto repeated = decode_scenario(recorded, used);
  if (!repeated) {
    std::abort();  // who handed it over has checked it
  }
  const Scenario given = fitted(repeated->scenario, shape);
  schedule::Replay replay(recorded.subspan(used));
  return run(replay, 0, &given);
}

Engine::Engine(trace::EventRing& ring, schedule::DecisionLog& decisions, std::span<module::Image* const> images,
               const Settings& settings)
    : parts_(std::make_unique<Parts>(ring, decisions, images, settings)) {
  parts_->shape.modules = static_cast<std::uint32_t>(images.size());
  parts_->learn_npis();
  parts_->notes_met.clear();  // the hunt meets them again
}

Engine::~Engine() = default;

const Execution& Engine::probe() const { return parts_->probed; }

std::uint32_t Engine::npis_provided() const { return parts_->uses.provided(); }

std::uint32_t Engine::npis_consumed() const { return parts_->uses.consumed(); }

schedule::Estimate Engine::estimate() const {
  schedule::Estimate estimate;
  estimate.decisions = std::max(16U, parts_->probed.decisions);
  estimate.threads = std::max<std::uint32_t>(2, parts_->scheduler.thread_limit());
  return estimate;
}

const ScenarioShape& Engine::shape() const { return parts_->shape; }

const ScenarioLimits& Engine::limits() const { return parts_->limits; }

Execution Engine::run(schedule::Strategy& strategy, std::uint64_t seed) { return parts_->run(strategy, seed, nullptr); }

Execution Engine::run(schedule::Strategy& strategy, std::uint64_t seed, const Scenario& scenario) {
  return parts_->run(strategy, seed, &scenario);
}

std::span<const FailureSite> Engine::failure_sites() const {
  return parts_->failures ? parts_->failures->sites() : std::span<const FailureSite>();
}

Execution Engine::repeat(std::span<const std::uint16_t> decisions) {
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  return parts_->repeat(kept);
}

namespace {

class AnswerCount final : public race::Accesses::Watcher {
 public:
  explicit AnswerCount(const schedule::Scheduler& scheduler) : scheduler_(scheduler) {}
  void on_ordinal(const void*, const race::Shape&) override { answers_ = scheduler_.decisions(); }
  std::optional<std::uint32_t> answers() const { return answers_; }

 private:
  const schedule::Scheduler& scheduler_;
  std::optional<std::uint32_t> answers_;
};

}  // namespace

std::size_t Engine::answers_before(std::span<const std::uint16_t> decisions, std::uint64_t ordinal) {
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  AnswerCount watcher(parts_->scheduler);
  parts_->accesses->watch(&watcher, ordinal);
  parts_->repeat(kept);
  parts_->accesses->watch(nullptr, 0);
  return watcher.answers().value_or(parts_->decisions.count) - parts_->scenario_numbers;
}

// Repeats the execution with somebody who watches for `expected`. Its hash at the end of the repetition has to be
// `hash`.
Report Engine::Parts::narrate(std::span<const std::uint16_t> decided, const contract::Finding& expected,
                              trace::TraceHash hash) {
  Narrator watching(recorder, registrar, images, accesses ? &*accesses : nullptr, expected);
  narrator = &watching;
  const Execution second = repeat(decided);
  narrator = nullptr;
  if (second.hash != hash || !watching.has_found()) {
    return {};
  }
  Report report = watching.report();
  report.world = nmr::text_of(registrar.world());
  return report;
}

Report Engine::describe(std::span<const std::uint16_t> decisions) {
  // The decisions may lie in the log that the repetition overwrites.
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  const Execution first = parts_->repeat(kept);
  if (!first.finding) {
    return {};
  }
  Report report = parts_->narrate(kept, *first.finding, first.hash);
  if (first.race) {
    const Report race = parts_->narrate(kept, *first.race, first.hash);
    report.race.push_back(race.title);
    report.race.insert(report.race.end(), race.race.begin(), race.race.end());
  }
  return report;
}

Report Engine::describe_note(std::span<const std::uint16_t> decisions, const contract::Finding& note) {
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  return parts_->narrate(kept, note, parts_->repeat(kept).hash);
}

std::vector<std::string> Engine::trace(std::span<const std::uint16_t> decisions) {
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  parts_->repeat(kept);
  return lines_of(parts_->recorder);
}

}  // namespace nmrfuzz::fuzz
