// world_test.cpp - the switches as text and as draws. What the variants do: world_attach_test.cpp,
// world_detach_test.cpp.
#include "nmr/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "nmr/guarantee_fixture.h"

namespace nmrfuzz::nmr {
namespace {

TEST(World, TextAndBack) {
  EXPECT_EQ(text_of(World{}), "windows");
  for (const Switch& each : switches()) {
    for (std::size_t i = 0; i < each.variants.size(); ++i) {
      const std::string text = std::string(each.name) + "=" + std::string(each.variants[i].name);
      World world;
      ASSERT_EQ(nmr::apply(world, text), std::nullopt);
      EXPECT_EQ(each.field(world), i) << text;
      EXPECT_EQ(text_of(world), i == 0 ? "windows" : text);
    }
  }
}

TEST(World, WrongTextIsExplained) {
  World world;
  EXPECT_EQ(nmr::apply(world, "detach_irql=high").value_or(""),
            "world switch 'detach_irql' has no variant 'high'; it has caller, dispatch");
  EXPECT_NE(nmr::apply(world, "detach").value_or("").find("detach_order"), std::string::npos);
  EXPECT_NE(nmr::apply(world, "").value_or(""), "");
  EXPECT_EQ(world, World{});
}

// `any` draws each lawful variant and no other.
TEST(World, DrawsTheLawfulVariants) {
  std::set<std::pair<std::string_view, std::size_t>> drawn;
  schedule::RandomBits bits(1);
  for (int i = 0; i < 2000; ++i) {
    World world = draw_world([&](std::uint32_t alternatives) { return bits.below(alternatives); });
    for (const Switch& each : switches()) {
      drawn.emplace(each.name, each.field(world));
    }
  }
  for (const Switch& each : switches()) {
    for (std::size_t i = 0; i < each.variants.size(); ++i) {
      EXPECT_EQ(drawn.contains({each.name, i}), each.variants[i].drawn) << each.name << "=" << each.variants[i].name;
    }
  }
  EXPECT_EQ(draw_world([](std::uint32_t) { return 0U; }), World{});
}

}  // namespace
}  // namespace nmrfuzz::nmr
