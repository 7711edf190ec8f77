// mutants/main.cpp - breaks one condition of the kernel at a time and demands that one of the kernel's tests fails. A
// mutant that lives is a hole in them.
//
// This program is made of the kernel's sources, compiled with mutants in them (kernel/mutant.h), and of the objects of
// its tests. Each mutant gets a process, since a broken kernel may crash or spin. Exit status: 0 if all are caught.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernel/mutant.h"

namespace {

using nmrfuzz::kernel::Mutant;

struct Row {
  Mutant mutant;
  const char* name;
  const char* does;
};

constexpr Row kRows[] = {
#define NMRFUZZ_MUTANT(name, broken) {Mutant::name, #name, broken},
#include "kernel/mutants.def"
#undef NMRFUZZ_MUTANT
};

// The child's side: runs all tests on the broken kernel, writes the name of the first that fails.
[[noreturn]] void run_tests(Mutant mutant, int pipe_end) {
  constexpr unsigned kSeconds = 60;
  alarm(kSeconds);
  nmrfuzz::kernel::mutant_in_force = mutant;
  if (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr) {
    std::_Exit(0);
  }
  const int failed = RUN_ALL_TESTS();
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int i = 0; failed != 0 && i < all.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *all.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j) {
      const testing::TestInfo& test = *suite.GetTestInfo(j);
      if (test.should_run() && test.result()->Failed()) {
        const std::string name = std::string(test.test_suite_name()) + "." + test.name();
        std::_Exit(write(pipe_end, name.data(), name.size()) < 0 ? 2 : 1);
      }
    }
  }
  std::_Exit(failed);
}

// How the tests noticed the mutant; empty if they did not.
std::string caught_by(Mutant mutant) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) {
    std::perror("pipe");
    std::exit(3);
  }
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    run_tests(mutant, ends[1]);
  }
  close(ends[1]);
  std::array<char, 256> name{};
  const ssize_t length = read(ends[0], name.data(), name.size());
  close(ends[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    std::perror("fork");
    std::exit(3);
  }
  if (WIFSIGNALED(status)) {
    return "signal " + std::to_string(WTERMSIG(status));
  }
  if (WEXITSTATUS(status) == 0) {
    return "";
  }
  return {name.data(), length > 0 ? static_cast<std::size_t>(length) : 0};
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(fail_fast, true);
  if (const std::string failed = caught_by(Mutant::kNone); !failed.empty()) {
    std::printf("the kernel that is not broken fails %s\n", failed.c_str());
    return 1;
  }
  std::size_t caught = 0;
  for (const Row& row : kRows) {
    const std::string by = caught_by(row.mutant);
    caught += by.empty() ? 0 : 1;
    std::printf("%-30s %s\n", row.name, by.empty() ? "NOT CAUGHT" : by.c_str());
    if (by.empty()) {
      std::printf("    it %s\n", row.does);
    }
  }
  std::printf("%zu of %zu mutants caught\n", caught, std::size(kRows));
  return caught == std::size(kRows) ? 0 : 1;
}
