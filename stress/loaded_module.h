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

#include "fuzz/engine.h"
#include "module/compile.h"
#include "module/image.h"
#include "nmrfuzz_config.h"
#include "schedule/random_bits.h"
#include "schedule/strategy.h"

namespace nmrfuzz::stress {

// Schedules at random; of everything else decides the first alternative, but for the way in which peers detach: from
// another thread.
class PlainScenario final : public schedule::Strategy {
 public:
  std::string_view name() const override { return "plain-scenario"; }
  void begin(std::uint64_t seed) override { random_ = schedule::RandomBits(seed); }
  schedule::RandomBits* uniform_bits() override { return &random_; }
  schedule::ThreadNumber pick(const schedule::Choices& choices) override {
    return choices.runnable[random_.below(static_cast<std::uint32_t>(choices.runnable.size()))];
  }
  std::uint32_t choose(std::uint32_t alternatives, schedule::ChoiceKind kind) override {
    constexpr std::uint32_t kDetachWays = 4;
    constexpr std::uint32_t kCompleteFromThread = 2;
    return kind == schedule::ChoiceKind::kPeer && alternatives == kDetachWays ? kCompleteFromThread : 0;
  }

 private:
  schedule::RandomBits random_;
};

// The module, loaded, and the memory of its executions, in the plainest world and without failures.
class LoadedModule {
 public:
  // `source`: a path in the corpus's folder `modules`; `options`: for the compiler.
  LoadedModule(const std::string& source, std::vector<std::string> options, bool rules)
      : source_(source), ring_(new trace::EventRing), decisions_(new schedule::DecisionLog) {
    module::BuildRequest request;
    request.sources = {std::string(NMRFUZZ_SOURCE_DIR) + "/corpus/modules/" + source};
    request.options = std::move(options);
    request.variants = {variant()};
    auto built = module::build(request);
    if (const auto* const failure = std::get_if<module::BuildFailure>(&built)) {
      give_up(failure->message);
    }
    auto loaded = module::Image::load(std::get<module::Build>(built).shared_object(variant()));
    if (const auto* const failure = std::get_if<module::LoadFailure>(&loaded)) {
      give_up(failure->message);
    }
    image_ = std::move(std::get<std::unique_ptr<module::Image>>(loaded));
    fuzz::Settings settings;
    settings.any_world = false;
    settings.faults = false;
    settings.rules = rules;
    module::Image* const images[] = {image_.get()};
    engine_ = std::make_unique<fuzz::Engine>(*ring_, *decisions_, images, settings);
  }

  fuzz::Execution run(std::uint64_t seed) {
    fuzz::Execution execution = engine_->run(strategy_, seed);
    if (execution.finding || execution.end != schedule::EndReason::kAllEnded) {
      give_up("an execution of a correct module did not end well");
    }
    return execution;
  }

 private:
  static module::Variant variant() { return module::variant_named(NMRFUZZ_VARIANT).value_or(module::Variant::kPlain); }
  [[noreturn]] void give_up(const std::string& message) const {
    std::fprintf(stderr, "nmrfuzz-bench: %s: %s\n", source_.c_str(), message.c_str());
    std::exit(3);
  }

  std::string source_;
  std::unique_ptr<trace::EventRing> ring_;
  std::unique_ptr<schedule::DecisionLog> decisions_;
  PlainScenario strategy_;
  std::unique_ptr<module::Image> image_;
  std::unique_ptr<fuzz::Engine> engine_;
};

}  // namespace nmrfuzz::stress
