#include "module/process.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace nmrfuzz::module {
namespace {

TEST(RunProcess, CollectsOutputAndStatus) {
  const ProcessResult result = run_process({"sh", "-c", "cat; echo out; echo err >&2; exit 3"});
  EXPECT_EQ(result.start_error, 0);
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.output, "out\nerr\n");
}

TEST(RunProcess, PassesArgumentsUntouched) {
  EXPECT_EQ(run_process({"printf", "%s|%s", "a b", "$HOME;'"}).output, "a b|$HOME;'");
}

TEST(RunProcess, TakesMoreThanAPipeHolds) {
  EXPECT_EQ(run_process({"sh", "-c", "head -c 300000 /dev/zero"}).output.size(), 300000U);
}

TEST(RunProcess, TellsSignalsAndMissingPrograms) {
  EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"}).status, 128 + 9);
  EXPECT_EQ(run_process({"/no/such/program"}).start_error, ENOENT);
}

}  // namespace
}  // namespace nmrfuzz::module
