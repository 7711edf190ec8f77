#include "fuzz/engine.h"

#include <algorithm>
#include <utility>

#include "contract/rules.h"
#include "fuzz/narrator.h"
#include "kernel/kernel.h"
#include "kernel/status.h"
#include "module/driver.h"
#include "nmr/fiber_port.h"
#include "peers/peers.h"
#include "schedule/byte_source.h"
#include "schedule/replay.h"

namespace nmrfuzz::fuzz {

using schedule::ChoiceKind;
using schedule::EndReason;
using trace::EventKind;

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
    if (settings.rules) {
      rules.emplace(recorder, *this);
    }
    for (std::size_t i = 0; i < images.size(); ++i) {
      const auto number = static_cast<trace::ModuleNumber>(i + 1);
      kernel.set_code(number, images[i]->text().begin, images[i]->text().end);
      drivers.push_back(std::make_unique<module::Driver>(kernel, number, images[i]->entry()));
    }
  }

  void report(contract::Finding found) override {
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

  Execution run(schedule::Strategy& strategy, std::uint64_t seed);
  Report narrate(std::span<const std::uint16_t> decisions, const contract::Finding& expected, trace::TraceHash hash);
  void prepare(schedule::Strategy& strategy, std::uint64_t seed);
  void learn_npis();
  bool learn_from_registrar();
  std::uint32_t count_registrations() const;

  static void stage(void* parts);
  static void load(void* life);
  void await_moment_of_unload();

  // One loader thread's argument.
  struct Life {
    Parts* parts = nullptr;
    module::Driver* driver = nullptr;
  };

  trace::Recorder recorder;
  schedule::DecisionLog& decisions;
  schedule::Scheduler scheduler;
  kernel::Kernel kernel;
  nmr::FiberRegistrar registrar;
  std::optional<contract::Rules> rules;
  peers::Peers peers;
  std::vector<module::Image*> images;
  std::vector<std::unique_ptr<module::Driver>> drivers;
  std::vector<Life> lives;
  std::vector<peers::NpiUse> uses;    // of the modules under test, learned by the probe
  std::vector<peers::NpiUse> peered;  // those of them that get peers
  Settings settings;
  Execution probed;
  std::optional<contract::Finding> finding;
  std::vector<contract::Finding> notes_met;     // in all executions
  std::optional<contract::Finding> first_note;  // of this one
  std::size_t modules_left = 0;
  Narrator* narrator = nullptr;
};

// The execution in force for the C entry points, for a scope.
class InForce {
 public:
  InForce(kernel::Kernel& kernel, nmr::FiberRegistrar& registrar)
      : kernel_(kernel::set_current_kernel(&kernel)), registrar_(nmr::set_current_registrar(&registrar)) {}
  ~InForce() {
    kernel::set_current_kernel(kernel_);
    nmr::set_current_registrar(registrar_);
  }
  InForce(const InForce&) = delete;
  InForce& operator=(const InForce&) = delete;

 private:
  kernel::Kernel* kernel_;
  nmr::FiberRegistrar* registrar_;
};

// Everything is decided in here or later, through the scheduler: the world, whether calls fail, what peers do.
void Engine::Parts::prepare(schedule::Strategy& strategy, std::uint64_t seed) {
  for (module::Image* const image : images) {
    image->reset();
  }
  finding.reset();
  first_note.reset();
  recorder.reset();
  if (rules) {
    rules->reset();
  }
  strategy.begin(seed);
  scheduler.reset(strategy, settings.step_limit);
  nmr::World world = settings.world;
  // Half of the executions of `any` are in the plainest world, so that what needs no oddity is found without one.
  if (settings.any_world && scheduler.choose(2, ChoiceKind::kWorld) == 1) {
    world = nmr::draw_world([this](std::uint32_t n) { return scheduler.choose(n, ChoiceKind::kWorld); });
  }
  kernel::Options options;
  options.faults = settings.faults && scheduler.choose(3, ChoiceKind::kFault) == 2;
  kernel.reset(options);
  registrar.reset(world);
  peers.reset(peered);
  lives.clear();
  modules_left = drivers.size();
  for (const auto& driver : drivers) {
    driver->reset();
    lives.push_back({this, driver.get()});
  }
}

Execution Engine::Parts::run(schedule::Strategy& strategy, std::uint64_t seed) {
  const InForce in_force(kernel, registrar);
  prepare(strategy, seed);
  kernel.spawn(schedule::ThreadRole::kLoader, &Parts::stage, this, kernel::kPassiveLevel);
  Execution execution;
  execution.end = scheduler.run();
  if (!finding) {
    recorder.write(scheduler.event(EventKind::kEnd));
  }
  execution.finding = finding;
  execution.note = first_note;
  execution.hash = finding ? finding->hash : recorder.hash();
  execution.events = finding ? finding->event_number + 1 : recorder.size();
  execution.steps = scheduler.steps();
  execution.decisions = decisions.count;
  execution.registrations = count_registrations();
  return execution;
}

// The first thread: sets the scene, then lets the modules load.
void Engine::Parts::stage(void* parts) {
  Parts& self = *static_cast<Parts*>(parts);
  self.peers.arrive_before();
  for (Life& life : self.lives) {
    self.kernel.spawn(schedule::ThreadRole::kLoader, &Parts::load, &life, kernel::kPassiveLevel);
  }
}

// A loader thread: one module from DriverEntry to its end.
void Engine::Parts::load(void* life) {
  Parts& self = *static_cast<Life*>(life)->parts;
  module::Driver& driver = *static_cast<Life*>(life)->driver;
  const bool entered = kernel::succeeded(driver.enter());
  if (driver.number() == 1) {
    self.peers.arrive_after();
  }
  if (entered && driver.can_unload()) {
    self.await_moment_of_unload();
    driver.unload();
  }
  if (--self.modules_left == 0) {
    self.peers.release();
  }
}

// Unload comes at once, when everything has come to rest, or somewhere in between.
void Engine::Parts::await_moment_of_unload() {
  enum class Moment : std::uint8_t { kAtRest, kAtOnce, kSoon };
  constexpr std::uint32_t kMoments = 3;
  constexpr std::uint32_t kSoonMaximum = 32;
  switch (static_cast<Moment>(scheduler.choose(kMoments, ChoiceKind::kMoment))) {
    case Moment::kAtRest:
      scheduler.wait_until_idle();
      break;
    case Moment::kAtOnce:
      break;
    case Moment::kSoon:
      for (std::uint32_t left = scheduler.choose(kSoonMaximum, ChoiceKind::kMoment); left > 0; --left) {
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

// Adds what the last execution registered to `uses`; whether there was anything new.
bool Engine::Parts::learn_from_registrar() {
  const std::size_t before = uses.size();
  for (trace::ObjectNumber number = 1; number <= registrar.registrations(); ++number) {
    const nmr::Registration& registration = registrar.registration(number);
    const peers::NpiUse use{registration.characteristics.npi, registration.role};
    if (registration.module != 0 && std::find(uses.begin(), uses.end(), use) == uses.end()) {
      uses.push_back(use);
    }
  }
  return uses.size() != before;
}

// Runs the execution in which every decision is its first alternative, until it shows no NPI that was not known before:
// modules may register more once a peer has attached. NPIs that the modules use in both roles need no peers.
void Engine::Parts::learn_npis() {
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    schedule::ByteSource first_alternatives({});
    probed = run(first_alternatives, 0);
    if (!learn_from_registrar()) {
      return;
    }
    peered.clear();
    for (const peers::NpiUse& use : uses) {
      const peers::NpiUse matching{use.id, opposite(use.role)};
      if (std::find(uses.begin(), uses.end(), matching) == uses.end()) {
        peered.push_back(use);
      }
    }
  }
}

Engine::Engine(trace::EventRing& ring, schedule::DecisionLog& decisions, std::span<module::Image* const> images,
               const Settings& settings)
    : parts_(std::make_unique<Parts>(ring, decisions, images, settings)) {
  parts_->learn_npis();
  parts_->notes_met.clear();  // the hunt meets them again
}

Engine::~Engine() = default;

const Execution& Engine::probe() const { return parts_->probed; }

std::uint32_t Engine::npis_provided() const {
  return static_cast<std::uint32_t>(std::count_if(parts_->uses.begin(), parts_->uses.end(),
                                                  [](const auto& use) { return use.role == nmr::Role::kProvider; }));
}

std::uint32_t Engine::npis_consumed() const {
  return static_cast<std::uint32_t>(parts_->uses.size()) - npis_provided();
}

schedule::Estimate Engine::estimate() const {
  schedule::Estimate estimate;
  estimate.decisions = std::max(16U, parts_->probed.decisions);
  estimate.threads = std::max<std::uint32_t>(2, parts_->scheduler.thread_limit());
  return estimate;
}

Execution Engine::run(schedule::Strategy& strategy, std::uint64_t seed) { return parts_->run(strategy, seed); }

// Repeats the execution with somebody who watches for `expected`. Its hash at the end of the repetition has to be
// `hash`.
Report Engine::Parts::narrate(std::span<const std::uint16_t> decided, const contract::Finding& expected,
                              trace::TraceHash hash) {
  schedule::Replay replay(decided);
  Narrator watching(recorder, registrar, images, expected);
  narrator = &watching;
  const Execution second = run(replay, 0);
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
  schedule::Replay replay(kept);
  const Execution first = run(replay, 0);
  return first.finding ? parts_->narrate(kept, *first.finding, first.hash) : Report{};
}

Report Engine::describe_note(std::span<const std::uint16_t> decisions, const contract::Finding& note) {
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  schedule::Replay replay(kept);
  return parts_->narrate(kept, note, run(replay, 0).hash);
}

std::vector<std::string> Engine::trace(std::span<const std::uint16_t> decisions) {
  const std::vector<std::uint16_t> kept(decisions.begin(), decisions.end());
  schedule::Replay replay(kept);
  run(replay, 0);
  return lines_of(parts_->recorder);
}

}  // namespace nmrfuzz::fuzz
