#include "schedule/timer_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "schedule/random_bits.h"

namespace nmrfuzz::schedule {
namespace {

void nothing(void*, std::uint64_t) {}

// Against the obvious model: an ordered map by time and order of arming.
TEST(TimerQueue, AgreesWithAnOrderedMap) {
  TimerQueue queue;
  RandomBits random(1);
  for (int execution = 0; execution < 20; ++execution) {
    queue.reset();
    std::map<std::pair<std::uint64_t, std::uint64_t>, TimerId> model;  // the argument is the order of arming
    std::vector<TimerId> gone;
    for (std::uint64_t step = 0; step < 3000; ++step) {
      switch (random.below(4)) {
        case 0:
        case 1: {
          const std::uint64_t due = random.below(50);
          model[{due, step}] = queue.arm(due, &nothing, nullptr, step);
          break;
        }
        case 2:
          if (!model.empty()) {
            auto chosen = model.begin();
            std::advance(chosen, random.below(static_cast<std::uint32_t>(model.size())));
            ASSERT_TRUE(queue.cancel(chosen->second));
            gone.push_back(chosen->second);
            model.erase(chosen);
          }
          break;
        default:
          if (!model.empty()) {
            const TimerQueue::Timer first = queue.take_first();
            ASSERT_EQ(first.due, model.begin()->first.first);
            ASSERT_EQ(first.argument, model.begin()->first.second);
            gone.push_back(model.begin()->second);
            model.erase(model.begin());
          }
      }
      ASSERT_EQ(queue.empty(), model.empty());
      if (!gone.empty()) {
        ASSERT_FALSE(queue.cancel(gone[random.below(static_cast<std::uint32_t>(gone.size()))])) << "a stale identifier";
      }
    }
  }
}

TEST(TimerQueue, NoNameIsNoTimer) {
  TimerQueue queue;
  EXPECT_FALSE(queue.cancel(0));
  EXPECT_FALSE(queue.cancel(~TimerId{0}));
  queue.arm(1, &nothing, nullptr, 0);
  EXPECT_FALSE(queue.cancel(0));
}

TEST(TimerQueue, ResetForgetsAndMakesIdentifiersStale) {
  TimerQueue queue;
  std::vector<TimerId> identifiers;
  for (std::uint64_t i = 0; i < kTimersMaximum; ++i) {
    ASSERT_FALSE(queue.full());
    identifiers.push_back(queue.arm(i, &nothing, nullptr, i));
  }
  EXPECT_TRUE(queue.full());
  queue.reset();
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
  for (const TimerId identifier : identifiers) {
    ASSERT_FALSE(queue.cancel(identifier));
  }
  for (std::uint64_t i = 0; i < kTimersMaximum; ++i) {
    queue.arm(i, &nothing, nullptr, i);
  }
  for (const TimerId identifier : identifiers) {
    ASSERT_FALSE(queue.cancel(identifier)) << "the slot is in use again, by another timer";
  }
}

}  // namespace
}  // namespace nmrfuzz::schedule
