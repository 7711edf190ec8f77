// hunt_fixture.h - for tests: a module with an engine of its own, in the default conditions of a hunt.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fuzz/build_and_load.h"
#include "fuzz/engine.h"
#include "fuzz/exploration.h"

namespace nmrfuzz::fuzz {

// A module with an engine of its own, in the default conditions of a hunt.
class Hunted {
 public:
  explicit Hunted(const std::vector<std::string>& sources, const std::vector<std::string>& options = {},
                  const Settings& settings = {}) {
    auto loaded = build_and_load(sources, options);
    if (const auto* failure = std::get_if<std::string>(&loaded)) {
      ADD_FAILURE() << *failure;
      return;
    }
    image_ = std::get<std::unique_ptr<module::Image>>(std::move(loaded));
    images_ = {image_.get()};
    engine_.emplace(*ring_, *log_, images_, settings);
    exploration_.emplace(*engine_, "mix");
  }

  bool usable() const { return engine_.has_value(); }
  Engine& engine() { return *engine_; }
  Execution run(std::uint64_t seed, std::uint64_t schedule) { return exploration_->run(seed, schedule); }
  // Of the latest execution.
  const trace::EventRing& events() const { return *ring_; }
  std::vector<std::uint16_t> decisions() const { return {log_->view().begin(), log_->view().end()}; }

 private:
  std::unique_ptr<trace::EventRing> ring_ = std::make_unique<trace::EventRing>();
  std::unique_ptr<schedule::DecisionLog> log_ = std::make_unique<schedule::DecisionLog>();
  std::unique_ptr<module::Image> image_;
  std::vector<module::Image*> images_;
  std::optional<Engine> engine_;
  std::optional<Exploration> exploration_;
};

}  // namespace nmrfuzz::fuzz
