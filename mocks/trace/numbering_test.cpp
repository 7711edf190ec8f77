#include "trace/numbering.h"

#include <gtest/gtest.h>

namespace nmrfuzz::trace {
namespace {

TEST(Numbering, CountsByFirstAppearance) {
  Numbering numbering;
  struct Row {
    std::uint64_t value;
    std::uint32_t number;
  };
  const Row rows[] = {{0, 0}, {0xffff8000deadbeef, 1}, {1, 2}, {0xffff8000deadbeef, 1}, {~0ULL, 3}, {0, 0}, {1, 2}};
  for (const Row& row : rows) {
    EXPECT_EQ(numbering.number(row.value), row.number) << row.value;
  }
}

TEST(Numbering, ResetForgets) {
  Numbering numbering;
  for (std::uint64_t execution = 0; execution < 10'000; ++execution) {
    numbering.reset();
    ASSERT_EQ(numbering.number(1000 + execution), 1U);
    ASSERT_EQ(numbering.number(7), 2U);
    ASSERT_EQ(numbering.number(1000 + execution), 1U);
  }
}

TEST(Numbering, FindsWithoutNumbering) {
  Numbering numbering;
  EXPECT_EQ(numbering.find(7), 0U);
  EXPECT_EQ(numbering.number(9), 1U) << "looking for 7 has numbered it";
  EXPECT_EQ(numbering.find(9), 1U);
  EXPECT_EQ(numbering.find(0), 0U);
  numbering.reset();
  EXPECT_EQ(numbering.find(9), 0U);
}

// The last number says nothing: it is that of all values that came too late as well.
TEST(Numbering, FindsNoSharedNumber) {
  Numbering numbering;
  std::uint64_t value = 1;
  while (numbering.number(value) < numbering.number(value + 1)) {
    ++value;
  }
  EXPECT_EQ(numbering.find(value - 1), value - 1);
  EXPECT_EQ(numbering.find(value), 0U);
  EXPECT_EQ(numbering.find(value + 1), 0U);
}

// The numbers depend on the order alone, whatever the values hash to.
TEST(Numbering, ManyValuesKeepTheirNumbers) {
  constexpr std::uint32_t kMany = 8192;
  for (const std::uint64_t stride : {std::uint64_t{1}, std::uint64_t{16}, std::uint64_t{1} << 50}) {
    Numbering numbering;
    for (int round = 0; round < 2; ++round) {
      for (std::uint32_t i = 1; i <= kMany; ++i) {
        ASSERT_EQ(numbering.number(i * stride), i) << "stride " << stride;
      }
    }
  }
}

TEST(Numbering, PastTheMaximumAllNewValuesShareOneNumber) {
  Numbering numbering;
  for (std::uint64_t value = 1; value <= 50'000; ++value) {
    numbering.number(value);
  }
  EXPECT_EQ(numbering.number(1), 1U);
  EXPECT_EQ(numbering.number(60'000), numbering.number(70'000));
}

}  // namespace
}  // namespace nmrfuzz::trace
