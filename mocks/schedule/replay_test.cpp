#include "schedule/replay.h"

#include <gtest/gtest.h>

#include <vector>

namespace nmrfuzz::schedule {
namespace {

const std::vector<ThreadNumber> kRunnable = {3, 0, 1};
const Choices kChoices = {kRunnable, 3, nullptr};

TEST(Replay, AnswersAsRecorded) {
  const std::vector<std::uint16_t> recorded = {1, 5, 0, 3};
  Replay replay(recorded);
  for (int execution = 0; execution < 2; ++execution) {
    replay.begin(0);
    EXPECT_EQ(replay.pick(kChoices), 1);
    EXPECT_EQ(replay.choose(6, ChoiceKind::kFault), 5U);
    EXPECT_EQ(replay.pick(kChoices), 0);
    EXPECT_EQ(replay.pick(kChoices), 3);
    EXPECT_EQ(replay.used(), 4U);
    EXPECT_FALSE(replay.diverged());
  }
}

TEST(Replay, BehindTheEndTheRunningThreadGoesOn) {
  Replay replay({});
  replay.begin(0);
  EXPECT_EQ(replay.pick(kChoices), 3);
  EXPECT_EQ(replay.choose(6, ChoiceKind::kFault), 0U);
  EXPECT_EQ(replay.pick(kChoices), 3);
  EXPECT_FALSE(replay.diverged()) << "a log may be shortened";
}

TEST(Replay, AnImpossibleAnswerIsADivergence) {
  struct Row {
    const char* name;
    std::vector<std::uint16_t> recorded;
    bool pick;
  };
  const Row rows[] = {{"a thread that cannot run", {2}, true},
                      {"a thread that does not exist", {60'000}, true},
                      {"an alternative too high", {6}, false}};
  for (const Row& row : rows) {
    Replay replay(row.recorded);
    replay.begin(0);
    if (row.pick) {
      EXPECT_EQ(replay.pick(kChoices), 3) << row.name;
    } else {
      EXPECT_EQ(replay.choose(6, ChoiceKind::kFault), 0U) << row.name;
    }
    EXPECT_TRUE(replay.diverged()) << row.name;
    EXPECT_EQ(replay.used(), 0U) << row.name;
    replay.begin(0);
    EXPECT_FALSE(replay.diverged()) << row.name;
  }
}

}  // namespace
}  // namespace nmrfuzz::schedule
