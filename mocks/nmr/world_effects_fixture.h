// world_effects_fixture.h - for tests of what single variants of a world do: a plain sequence of callbacks in that
// world.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "nmr/guarantee_fixture.h"

namespace nmrfuzz::nmr {

class WorldEffects : public GuaranteeTest {
 protected:
  // Runs a client's and a provider's lives in the world of `text`, the client's thread first, as a plain sequence: the
  // module whose callbacks are called in which order, at which IRQL, on whose thread.
  struct Step {
    Callback callback;
    ObjectNumber binding;
    ThreadNumber thread;
    std::uint8_t irql;
  };
  std::vector<Step> steps_of(const std::string& text, const std::function<void()>& prepare,
                             schedule::EndReason end = schedule::EndReason::kAllEnded) {
    World world;
    EXPECT_EQ(nmr::apply(world, text), std::nullopt);
    bench.begin(first_alternative_, 0);
    bench.enter(world, false);
    prepare();
    EXPECT_EQ(bench.run(), end) << text;
    EXPECT_EQ(bench.complaints(), std::vector<std::string>()) << text;
    std::vector<Step> steps;
    for (std::uint64_t i = 0; i < bench.recorder.size(); ++i) {
      const trace::Event& event = bench.recorder.at(i);
      if (event.kind == trace::EventKind::kCallbackEnter) {
        steps.push_back({static_cast<Callback>(event.a), event.object, event.thread, event.irql});
      }
    }
    return steps;
  }
  std::vector<Step> steps_of(const std::string& text) {
    return steps_of(text, [this] { attach_and_leave(); });
  }
  // One client, `providers` providers; the client leaves; then the providers do. One thread, number 1.
  void attach_and_leave(int providers = 1) {
    Party& upper = client();
    bench.start(1, [this, &upper, providers] {
      for (int i = 0; i < providers; ++i) {
        bench.register_party(add(Role::kProvider, 1));
      }
      bench.register_party(upper);
      bench.scheduler.wait_until_idle();
      bench.leave(upper);
      for (Party& party : bench.parties) {
        if (!party.closed) {
          bench.leave(party);
        }
      }
    });
  }
  static std::vector<Callback> of_kind(const std::vector<Step>& steps, Callback one, Callback other) {
    std::vector<Callback> found;
    for (const Step& step : steps) {
      if (step.callback == one || step.callback == other) {
        found.push_back(step.callback);
      }
    }
    return found;
  }
  static Step step_of(const std::vector<Step>& steps, Callback callback) {
    const auto found = std::find_if(steps.begin(), steps.end(), [&](const Step& s) { return s.callback == callback; });
    EXPECT_NE(found, steps.end());
    return found != steps.end() ? *found : Step{};
  }

 private:
  // Goes on with the running thread and takes the first of all alternatives.
  class First final : public schedule::Strategy {
   public:
    std::string_view name() const override { return "first"; }
    void begin(std::uint64_t) override {}
    ThreadNumber pick(const schedule::Choices& choices) override {
      const auto& runnable = choices.runnable;
      return std::find(runnable.begin(), runnable.end(), choices.current) != runnable.end() ? choices.current
                                                                                            : runnable.front();
    }
    std::uint32_t choose(std::uint32_t, schedule::ChoiceKind) override { return 0; }
  } first_alternative_;
};

}  // namespace nmrfuzz::nmr
