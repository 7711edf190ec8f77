// guarantee_fixture.h - for tests that are named after a guarantee: one situation, run in each world that touches it
// under many schedules, and once more on each broken registrar that should not pass.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <string_view>

#include "nmr/registrar_fixture.h"

namespace nmrfuzz::nmr {

class GuaranteeTest : public ::testing::Test {
 protected:
  struct Situation {
    std::vector<std::string_view> switches;  // of the worlds that touch the guarantee
    std::vector<Mutant> mutants;             // that break it
    bool faults = false;
    std::function<void()> prepare;     // makes parties and threads
    std::function<void()> check = {};  // after the execution, by expect()
  };

  // Every world and schedule keeps the guarantee; no mutant does in all of them.
  void prove(const Situation& situation) {
    const std::vector<World> worlds = worlds_of(situation.switches);
    for (const World& world : worlds) {
      for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
        const std::vector<std::string> complaints = run(situation, varied(world, seed), seed, Mutant::kNone);
        ASSERT_EQ(complaints, std::vector<std::string>()) << "seed " << seed << ", world " << text_of(world_);
      }
    }
    for (const Mutant mutant : situation.mutants) {
      bool caught = false;
      for (std::uint64_t seed = 0; seed < kSchedules && !caught; ++seed) {
        for (const World& world : worlds) {
          caught = caught || !run(situation, varied(world, seed), seed, mutant).empty();
        }
      }
      EXPECT_TRUE(caught) << "mutant " << static_cast<int>(mutant) << " keeps the guarantee";
    }
  }
  void expect(bool holds, std::string_view complaint) { bench.watch.expect(holds, "test", complaint); }

  // A thread of the party's module that lives its life.
  void start_life(Party& party) {
    bench.start(party.module, [this, &party] { bench.live(party); });
  }
  Party& add(Role role, ModuleNumber module, std::array<std::uint64_t, 2> npi = {1, 1}) {
    return bench.add(role, npi, module);
  }
  Party& client() { return add(Role::kClient, 1); }
  Party& provider() { return add(Role::kProvider, 2); }
  // Both sides accept, and have been told once and cleaned up once.
  void expect_full_life(Pair& pair) {
    for (const Pair::Side& side : pair.sides) {
      expect(side.accepted && side.detaches == 1 && side.cleanups == 1, "a binding has not had its whole life");
    }
  }
  std::size_t accepted_pairs() {
    std::size_t count = 0;
    for (const Pair& pair : bench.pairs()) {
      count += pair.sides[0].accepted && pair.sides[1].accepted ? 1 : 0;
    }
    return count;
  }

  RegistrarBench bench;
  World world_;  // of the latest execution

 private:
  static constexpr std::uint64_t kSchedules = 60;

  // The windows world, and it with each lawful variant of each of `names`.
  static std::vector<World> worlds_of(const std::vector<std::string_view>& names) {
    std::vector<World> worlds(1);
    for (const Switch& each : switches()) {
      if (std::find(names.begin(), names.end(), each.name) == names.end()) {
        continue;
      }
      for (std::size_t i = 1; i < each.variants.size(); ++i) {
        if (each.variants[i].drawn) {
          each.field(worlds.emplace_back()) = static_cast<std::uint8_t>(i);
        }
      }
    }
    return worlds;
  }
  // Every other schedule draws the switches that `world` leaves at their default.
  static World varied(World world, std::uint64_t seed) {
    if (seed % 2 == 0) {
      return world;
    }
    schedule::RandomBits bits(seed);
    World drawn = draw_world([&](std::uint32_t alternatives) { return bits.below(alternatives); });
    for (const Switch& each : switches()) {
      if (each.field(world) != 0) {
        each.field(drawn) = each.field(world);
      }
    }
    return drawn;
  }
  std::vector<std::string> run(const Situation& situation, const World& world, std::uint64_t seed, Mutant mutant) {
    world_ = world;
    bench.begin(strategy_, seed, mutant);
    bench.enter(world, situation.faults);
    situation.prepare();
    const schedule::EndReason reason = bench.run();
    expect(reason == schedule::EndReason::kAllEnded, "the execution does not come to its end");
    if (situation.check) {
      situation.check();
    }
    return bench.complaints();
  }

  schedule::RandomWalk strategy_;
};

// All switches that decide how a binding ends.
inline const std::vector<std::string_view> kDetachSwitches = {
    "detach_order",  "detach_irql",   "detach_thread", "cleanup_where",      "binding_order",
    "detach_fanout", "cleanup_order", "attach_thread", "late_detach_thread", "handle_store"};
inline const std::vector<std::string_view> kAttachSwitches = {"attach_thread", "handle_store", "binding_order",
                                                              "attach_retry", "late_detach_thread"};

}  // namespace nmrfuzz::nmr
