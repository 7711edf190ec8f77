#include "fuzz/cc_arguments.h"

#include <gtest/gtest.h>

namespace nmrfuzz::fuzz {
namespace {

using Words = std::vector<std::string>;

struct Row {
  Words arguments;
  std::string output;
  Words sources;
  Words options;
};

TEST(CcArguments, Table) {
  const Row rows[] = {
      {{"a.c"}, "a.nmr", {"a.c"}, {}},
      {{"dir/a.b.cpp", "c.c"}, "a.b.nmr", {"dir/a.b.cpp", "c.c"}, {}},
      {{"-o", "x.nmr", "a.c"}, "x.nmr", {"a.c"}, {}},
      {{"-ox.nmr", "a.c"}, "x.nmr", {"a.c"}, {}},
      {{"-I", "inc", "-Ij", "-DX=1", "-D", "Y", "a.c"}, "a.nmr", {"a.c"}, {"-I", "inc", "-Ij", "-DX=1", "-D", "Y"}},
      {{"-include", "pre.h", "a.c", "-Wall", "-O2"}, "a.nmr", {"a.c"}, {"-include", "pre.h", "-Wall", "-O2"}},
      {{"-Xclang", "-verify", "a.c"}, "a.nmr", {"a.c"}, {"-Xclang", "-verify"}},
      {{"--", "-odd.c"}, "-odd.nmr", {"-odd.c"}, {}},
  };
  for (const Row& row : rows) {
    const auto result = parse_cc_arguments(row.arguments);
    ASSERT_TRUE(std::holds_alternative<CcArguments>(result)) << row.arguments.front();
    const auto& parsed = std::get<CcArguments>(result);
    EXPECT_EQ(parsed.output, row.output);
    EXPECT_EQ(parsed.sources, row.sources);
    EXPECT_EQ(parsed.options, row.options);
  }
}

TEST(CcArguments, RefusesWhatMakesNoModule) {
  const Words rows[] = {{},
                        {"-DX"},
                        {"a.c", "-o"},
                        {"a.c", "-I"},
                        {"-c", "a.c"},
                        {"-shared", "a.c"},
                        {"-fsanitize=address", "a.c"},
                        {"-fno-sanitize=all", "a.c", "-flto"}};
  for (const Words& row : rows) {
    EXPECT_TRUE(std::holds_alternative<CcError>(parse_cc_arguments(row))) << (row.empty() ? "" : row.back());
  }
}

TEST(CcArguments, HelpNeedsNothingElse) {
  const auto result = parse_cc_arguments(Words{"--help"});
  ASSERT_TRUE(std::holds_alternative<CcArguments>(result));
  EXPECT_TRUE(std::get<CcArguments>(result).help);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
