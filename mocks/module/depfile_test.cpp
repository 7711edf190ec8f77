#include "module/depfile.h"

#include <gtest/gtest.h>

namespace nmrfuzz::module {
namespace {

struct Row {
  const char* text;
  std::vector<std::string> expected;
};

TEST(ParseDepfile, Table) {
  const Row rows[] = {
      {"", {}},
      {"x: a.c\n", {"a.c"}},
      {"x: a.c \\\n  /usr/include/b.h \\\n  c.h\n", {"a.c", "/usr/include/b.h", "c.h"}},
      {"x: with\\ space.c dollar$$.h hash\\#.h\n", {"with space.c", "dollar$.h", "hash#.h"}},
      {"x: back\\slash.h\n", {"back\\slash.h"}},
      {"x: a.c", {"a.c"}},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(parse_depfile(row.text), row.expected) << row.text;
  }
}

}  // namespace
}  // namespace nmrfuzz::module
