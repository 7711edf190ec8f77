// cells_test.cpp - what the registrar's scenarios reach in a fixed number of executions: each moment of a completion by
// each side and kind of thread, each variant of each switch of the world, each move of the tables in states.h. A cell
// that is never reached has to be explained, and an explanation must not be wrong.
#include "nmr/cells.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "nmr/registrar_scenario.h"

namespace nmrfuzz::nmr {
namespace {

constexpr std::uint64_t kScenarios = 20'000;

struct Explained {
  std::string cell;
  std::string unreachable_because;
};

const std::vector<Explained>& explained() {
  static const std::vector<Explained> list = {};
  return list;
}

std::string variant_cell(const Switch& each, std::size_t variant) {
  return "world " + std::string(each.name) + "=" + std::string(each.variants[variant].name);
}

template <class State, std::size_t kStates>
void add_moves(const std::string& what, std::vector<std::string>& cells) {
  for (std::size_t from = 0; from < kStates; ++from) {
    for (std::size_t to = 0; to < kStates; ++to) {
      if (may_move(static_cast<State>(from), static_cast<State>(to))) {
        cells.push_back(Cells::move(what, from, to));
      }
    }
  }
}

std::vector<std::string> all_cells() {
  std::vector<std::string> cells;
  for (std::size_t moment = 0; moment < kMoments.size(); ++moment) {
    for (const Role role : {Role::kClient, Role::kProvider}) {
      for (std::size_t completer = 0; completer < kCompleters.size(); ++completer) {
        cells.push_back(Cells::completion(static_cast<Moment>(moment), role, static_cast<Completer>(completer)));
      }
    }
  }
  for (const Switch& each : switches()) {
    for (std::size_t variant = 0; variant < each.variants.size(); ++variant) {
      cells.push_back(variant_cell(each, variant));
    }
  }
  add_moves<RegistrationState, kRegistrationStates>("registration", cells);
  add_moves<BindingState, kBindingStates>("binding", cells);
  add_moves<DetachProgress, kDetachProgresses>("side", cells);
  return cells;
}

using Counts = std::map<std::string, std::uint64_t>;

Counts reached_cells() {
  RegistrarBench bench;
  RegistrarScenario scenario(bench);
  schedule::RandomWalk strategy;
  Cells cells(bench.recorder, bench.scheduler);
  for (std::uint64_t seed = 0; seed < kScenarios; ++seed) {
    cells.begin();
    scenario.run(strategy, seed);
    for (const Switch& each : switches()) {
      ++cells.seen[variant_cell(each, each.field(scenario.world))];
    }
  }
  bench.recorder.unsubscribe(cells);
  return cells.seen;
}

// What is wrong with the counts, one line each.
std::vector<std::string> complaints_about(const std::vector<std::string>& cells, const Counts& reached,
                                          const std::vector<Explained>& explanations) {
  std::vector<std::string> complaints;
  for (const std::string& cell : cells) {
    const bool is_explained =
        std::any_of(explanations.begin(), explanations.end(), [&](const Explained& each) { return each.cell == cell; });
    if (!reached.contains(cell) && !is_explained) {
      complaints.push_back(cell + " is not reached, and nothing says why");
    }
    if (reached.contains(cell) && is_explained) {
      complaints.push_back(cell + " is reached, but explained as unreachable");
    }
  }
  for (const Explained& each : explanations) {
    if (std::find(cells.begin(), cells.end(), each.cell) == cells.end()) {
      complaints.push_back(each.cell + " is no cell");
    }
  }
  return complaints;
}

TEST(RegistrarCells, AreReachedOrExplained) {
  const Counts reached = reached_cells();
  const std::vector<std::string> cells = all_cells();
  for (const auto& [cell, times] : reached) {
    std::printf("%8llu  %s\n", static_cast<unsigned long long>(times), cell.c_str());
  }
  for (const Explained& each : explained()) {
    std::printf("       -  %s: unreachable because %s\n", each.cell.c_str(), each.unreachable_because.c_str());
  }
  std::printf("%zu of %zu cells reached, %zu explained\n", reached.size(), cells.size(), explained().size());
  EXPECT_EQ(complaints_about(cells, reached, explained()), std::vector<std::string>());
}

TEST(RegistrarCells, BothMistakesAreNoticed) {
  const Counts reached = {{"a", 1}};
  EXPECT_TRUE(complaints_about({"a", "b"}, reached, {{"b", "of a reason"}}).empty());
  EXPECT_EQ(complaints_about({"a", "b"}, reached, {}).size(), 1U);
  EXPECT_EQ(complaints_about({"a"}, reached, {{"a", "of a reason"}}).size(), 1U);
  EXPECT_EQ(complaints_about({"a"}, reached, {{"c", "of a reason"}}).size(), 1U);
}

}  // namespace
}  // namespace nmrfuzz::nmr
