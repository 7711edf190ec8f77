#include "fuzz/words.h"

#include <gtest/gtest.h>

namespace nmrfuzz::fuzz {
namespace {

TEST(Words, Durations) {
  const std::pair<const char*, std::optional<double>> cases[] = {{"60s", 60},           {"5m", 300},
                                                                 {"2h", 7200},          {"45", 45},
                                                                 {"0.5s", 0.5},         {"1.5m", 90},
                                                                 {"", std::nullopt},    {"s", std::nullopt},
                                                                 {"5d", std::nullopt},  {"-1s", std::nullopt},
                                                                 {"1e3", std::nullopt}, {"nan", std::nullopt},
                                                                 {"5 m", std::nullopt}, {"99999999h", std::nullopt},
                                                                 {"inf", std::nullopt}};
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(parse_duration(text), expected) << text;
  }
}

TEST(Words, Numbers) {
  EXPECT_EQ(parse_number("18446744073709551615"), UINT64_MAX);
  for (const char* bad : {"", "-1", "+1", "1x", " 1", "18446744073709551616", "0x10"}) {
    EXPECT_EQ(parse_number(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(parse_hash("00000000000000ff"), 255U);
  EXPECT_EQ(parse_hash("ff"), std::nullopt);
  EXPECT_EQ(hash_text(255), "00000000000000ff");
}

TEST(Words, NearestNameIsOneThatCanBeMeant) {
  const std::vector<std::string> names = {"hunt", "replay", "list", "nightly"};
  EXPECT_EQ(nearest("hnut", names), "hunt");
  EXPECT_EQ(nearest("repaly", names), "replay");
  EXPECT_EQ(nearest("completely-else", names), std::nullopt);
  EXPECT_EQ(suggestion("lst", names), ", did you mean 'list'?");
  EXPECT_EQ(suggestion("", names), "");
}

TEST(Words, SplitJoinTrim) {
  EXPECT_EQ(split("a++b", '+'), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(split("", '+'), (std::vector<std::string>{""}));
  EXPECT_EQ(join(split("a+b+c", '+'), ", "), "a, b, c");
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" "), "");
}

TEST(Words, DurationTexts) {
  EXPECT_EQ(duration_text(59.6), "60 s");
  EXPECT_EQ(duration_text(-1), "0 s");
  EXPECT_EQ(duration_text(600), "10 min");
  EXPECT_EQ(duration_text(2 * 3600 + 300), "2 h 5 min");
}

}  // namespace
}  // namespace nmrfuzz::fuzz
