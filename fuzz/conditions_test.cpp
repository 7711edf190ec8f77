#include "fuzz/conditions.h"

#include <gtest/gtest.h>

namespace nmrfuzz::fuzz {
namespace {

TEST(Conditions, TextSetsWhatItPrints) {
  Conditions conditions;
  EXPECT_EQ(set_world(conditions, "double_wait=tolerate"), std::nullopt);
  EXPECT_FALSE(conditions.any_world);
  EXPECT_EQ(world_text(conditions), "double_wait=tolerate");
  EXPECT_EQ(set_world(conditions, "windows"), std::nullopt);
  EXPECT_EQ(world_text(conditions), "windows");
  EXPECT_EQ(set_world(conditions, "any"), std::nullopt);
  EXPECT_EQ(world_text(conditions), "any");
  EXPECT_NE(set_world(conditions, "double_wait=perhaps"), std::nullopt);
  EXPECT_NE(set_world(conditions, ""), std::nullopt);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
