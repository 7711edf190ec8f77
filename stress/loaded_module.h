// loaded_module.h - one module, compiled as for a hunt and loaded, with an engine of its own: what benchmarks of whole
// executions run on.
//
// Thread safety: none. One at a time in a process: the pool has a fixed address. Whatever goes wrong ends the program
// with status 3: a benchmark of executions that stop early would lie.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fuzz/build_and_load.h"
#include "fuzz/engine.h"
#include "fuzz/scenario.h"
#include "nmrfuzz_config.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::stress {

// The module, loaded, and the memory of its executions: of the plain scenario, but that peers complete their detaches
// from another thread; random schedules.
class LoadedModule {
 public:
  // `source`: a path in the corpus's folder `modules`; `options`: for the compiler.
  LoadedModule(const std::string& source, std::vector<std::string> options, bool rules)
      : source_(source), ring_(new trace::EventRing), decisions_(new schedule::DecisionLog) {
    auto loaded =
        fuzz::build_and_load({std::string(NMRFUZZ_SOURCE_DIR) + "/corpus/modules/" + source}, std::move(options));
    if (const auto* const failure = std::get_if<std::string>(&loaded)) {
      give_up(*failure);
    }
    image_ = std::get<std::unique_ptr<module::Image>>(std::move(loaded));
    fuzz::Settings settings;
    settings.any_world = false;
    settings.faults = false;
    settings.rules = rules;
    module::Image* const images[] = {image_.get()};
    engine_ = std::make_unique<fuzz::Engine>(*ring_, *decisions_, images, settings);
    scenario_ = fuzz::plain_scenario(engine_->shape());
    for (fuzz::PeerPlan& peer : scenario_.peers) {
      peer.behaviour.first_detach = peers::Detach::kCompleteFromThread;
      peer.behaviour.later_detach = peers::Detach::kCompleteFromThread;
    }
  }

  fuzz::Execution run(std::uint64_t seed) {
    fuzz::Execution execution = engine_->run(strategy_, seed, scenario_);
    if (execution.finding || execution.end != schedule::EndReason::kAllEnded) {
      give_up("an execution of a correct module did not end well");
    }
    return execution;
  }

 private:
  [[noreturn]] void give_up(const std::string& message) const {
    std::fprintf(stderr, "nmrfuzz-bench: %s: %s\n", source_.c_str(), message.c_str());
    std::exit(3);
  }

  std::string source_;
  std::unique_ptr<trace::EventRing> ring_;
  std::unique_ptr<schedule::DecisionLog> decisions_;
  fuzz::Scenario scenario_;
  schedule::RandomWalk strategy_;
  std::unique_ptr<module::Image> image_;
  std::unique_ptr<fuzz::Engine> engine_;
};

}  // namespace nmrfuzz::stress
