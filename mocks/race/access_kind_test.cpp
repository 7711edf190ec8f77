#include "race/access_kind.h"

#include <gtest/gtest.h>

#include <vector>

namespace nmrfuzz::race {
namespace {

std::vector<Manner> all() {
  std::vector<Manner> manners;
  for (unsigned i = 0; i < kManners; ++i) {
    manners.push_back(static_cast<Manner>(i));
  }
  return manners;
}

TEST(AccessKind, TwoReadsNeverConflict) {
  for (const Manner one : all()) {
    for (const Manner other : all()) {
      if (!is_write(one) && !is_write(other)) {
        EXPECT_FALSE(conflicts(one, other));
      }
      EXPECT_EQ(conflicts(one, other), conflicts(other, one));
    }
  }
}

TEST(AccessKind, TheTable) {
  EXPECT_TRUE(conflicts(Manner::kPlainWrite, Manner::kPlainRead));
  EXPECT_TRUE(conflicts(Manner::kPlainWrite, Manner::kPlainWrite));
  EXPECT_TRUE(conflicts(Manner::kPlainWrite, Manner::kVolatileRead));
  EXPECT_TRUE(conflicts(Manner::kPlainRead, Manner::kVolatileWrite));
  EXPECT_TRUE(conflicts(Manner::kPlainWrite, Manner::kInterlockedRead));
  EXPECT_FALSE(conflicts(Manner::kVolatileWrite, Manner::kVolatileRead));
  EXPECT_FALSE(conflicts(Manner::kVolatileWrite, Manner::kInterlockedWrite));
  EXPECT_FALSE(conflicts(Manner::kInterlockedWrite, Manner::kInterlockedWrite));
  EXPECT_TRUE(is_tolerated(Manner::kPlainRead, Manner::kInterlockedWrite));
  EXPECT_TRUE(is_tolerated(Manner::kInterlockedWrite, Manner::kPlainRead));
  EXPECT_FALSE(is_tolerated(Manner::kPlainWrite, Manner::kInterlockedWrite));
  EXPECT_FALSE(is_tolerated(Manner::kPlainRead, Manner::kVolatileWrite));
}

// Forgetting an access in favour of a later one must lose no race.
TEST(AccessKind, WhatStandsForAnotherConflictsWithAllThatItDoes) {
  for (const Manner later : all()) {
    for (const Manner earlier : all()) {
      if (!stands_for(later, earlier)) {
        continue;
      }
      for (const Manner other : all()) {
        const bool was_race = conflicts(earlier, other) && !is_tolerated(earlier, other);
        const bool is_race = conflicts(later, other) && !is_tolerated(later, other);
        EXPECT_TRUE(!was_race || is_race);
        EXPECT_TRUE(!conflicts(earlier, other) || conflicts(later, other));
      }
    }
  }
  EXPECT_TRUE(stands_for(Manner::kPlainWrite, Manner::kInterlockedWrite));
  EXPECT_FALSE(stands_for(Manner::kPlainRead, Manner::kPlainWrite));
  EXPECT_FALSE(stands_for(Manner::kInterlockedWrite, Manner::kPlainRead));
}

}  // namespace
}  // namespace nmrfuzz::race
