#include "schedule/prefix.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schedule/pct.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::schedule {
namespace {

const std::vector<ThreadNumber> kRunnable = {3, 0, 1};
const Choices kChoices = {kRunnable, 3, nullptr};
constexpr ThreadNumber kOfRest = 0;
constexpr std::uint32_t kChosenByRest = 4;

// Notes what it is told, and answers always the same.
class Rest final : public Strategy {
 public:
  std::string_view name() const override { return "rest"; }
  void begin(std::uint64_t seed) override { told = "begin " + std::to_string(seed); }
  ThreadNumber pick(const Choices&) override { return kOfRest; }
  std::uint32_t choose(std::uint32_t, ChoiceKind) override { return kChosenByRest; }
  bool wants_notifications() const override { return true; }
  void on_runnable(ThreadNumber thread) override { tell(" runnable ", thread); }
  void on_not_runnable(ThreadNumber thread) override { tell(" not ", thread); }
  void on_started(ThreadNumber thread) override { tell(" started ", thread); }
  void on_yield(ThreadNumber thread) override { tell(" yield ", thread); }

  std::string told;

 private:
  void tell(const char* what, ThreadNumber thread) { told += what + std::to_string(thread); }
};

TEST(Prefix, RepeatsTheAnswersThenTheRestDecides) {
  const std::vector<std::uint16_t> answers = {1, 5, 3};
  Rest rest;
  Prefix prefix(answers, rest);
  EXPECT_EQ(prefix.name(), "rest");
  for (int execution = 0; execution < 2; ++execution) {
    prefix.begin(7);
    EXPECT_EQ(prefix.pick(kChoices), 1);
    EXPECT_EQ(prefix.choose(6, ChoiceKind::kPeer), 5U);
    EXPECT_EQ(prefix.pick(kChoices), 3);
    EXPECT_EQ(prefix.used(), 3U);
    EXPECT_EQ(prefix.pick(kChoices), kOfRest);
    EXPECT_EQ(prefix.choose(6, ChoiceKind::kPeer), kChosenByRest);
    EXPECT_EQ(prefix.used(), 3U);
  }
}

TEST(Prefix, AnEmptyOneIsTheRest) {
  Rest rest;
  Prefix prefix({}, rest);
  prefix.begin(1);
  EXPECT_EQ(prefix.pick(kChoices), kOfRest);
  EXPECT_EQ(prefix.choose(6, ChoiceKind::kPeer), kChosenByRest);
  EXPECT_EQ(prefix.used(), 0U);
}

TEST(Prefix, EndsForGoodAtAnImpossibleAnswer) {
  const std::vector<std::uint16_t> no_thread = {1, 2, 3};
  const std::vector<std::uint16_t> no_alternative = {1, 6, 3};
  Rest rest;
  Prefix threads(no_thread, rest);
  threads.begin(1);
  EXPECT_EQ(threads.pick(kChoices), 1);
  EXPECT_EQ(threads.pick(kChoices), kOfRest) << "thread 2 cannot run";
  EXPECT_EQ(threads.choose(6, ChoiceKind::kPeer), kChosenByRest) << "an answer that would fit now";
  EXPECT_EQ(threads.pick(kChoices), kOfRest);
  EXPECT_EQ(threads.used(), 1U);

  Prefix alternatives(no_alternative, rest);
  alternatives.begin(1);
  EXPECT_EQ(alternatives.pick(kChoices), 1);
  EXPECT_EQ(alternatives.choose(6, ChoiceKind::kPeer), kChosenByRest);
  EXPECT_EQ(alternatives.pick(kChoices), kOfRest);
  alternatives.begin(2);
  EXPECT_EQ(alternatives.pick(kChoices), 1) << "the next execution is repeated again";
}

// The rest learns of all threads, also while it is not asked: its priorities must be there when it is.
TEST(Prefix, TheRestIsToldEverything) {
  const std::vector<std::uint16_t> answers = {1};
  Rest rest;
  Prefix prefix(answers, rest);
  prefix.begin(9);
  EXPECT_TRUE(prefix.wants_notifications());
  prefix.on_started(1);
  prefix.on_runnable(1);
  prefix.on_yield(1);
  prefix.on_not_runnable(1);
  EXPECT_EQ(rest.told, "begin 9 started 1 runnable 1 yield 1 not 1");
}

TEST(Prefix, BehindItTheRestDecidesAsItsSeedSays) {
  const std::vector<std::uint16_t> answers = {3, 3};
  RandomWalk first;
  RandomWalk second;
  Prefix prefix(answers, first);
  prefix.begin(11);
  second.begin(11);
  EXPECT_EQ(prefix.pick(kChoices), 3);
  EXPECT_EQ(prefix.pick(kChoices), 3);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(prefix.pick(kChoices), second.pick(kChoices)) << i;
  }
  EXPECT_EQ(prefix.uniform_bits(), nullptr) << "or the scheduler would not ask";
}

TEST(Prefix, PctKnowsTheThreadsThatStartedBeforeItsTurn) {
  const std::vector<std::uint16_t> answers = {1, 1};
  Pct pct(1, {4, 16});
  Prefix prefix(answers, pct);
  prefix.begin(5);
  for (const ThreadNumber thread : kRunnable) {
    prefix.on_started(thread);
    prefix.on_runnable(thread);
  }
  EXPECT_EQ(prefix.pick(kChoices), 1);
  EXPECT_EQ(prefix.pick(kChoices), 1);
  const ThreadNumber highest = prefix.pick(kChoices);
  prefix.on_not_runnable(highest);
  std::vector<ThreadNumber> left = kRunnable;
  std::erase(left, highest);
  const ThreadNumber next = prefix.pick({left, highest, nullptr});
  EXPECT_NE(next, highest);
  EXPECT_NE(std::find(left.begin(), left.end(), next), left.end());
}

}  // namespace
}  // namespace nmrfuzz::schedule
