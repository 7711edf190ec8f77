// command_hardness_test.cpp - cmake/hardness.sh measures a planted defect through the nmrfuzz program and writes it
// down.
#include "fuzz/command_fixture.h"
#include "fuzz/corpus.h"

namespace nmrfuzz::fuzz {
namespace {

class HardnessScript : public Command {
 protected:
  void SetUp() override {
    Command::SetUp();
    fs::create_directories(folder_ / "corpus/correct");
    fs::create_directories(folder_ / "corpus/planted");
  }
  // A module that forgets its registration, or not, as its variant says, behind `head`.
  void plant(const std::string& name, const std::string& head) {
    write("corpus/planted/" + name,
          "// nmrfuzz: module\n" + head + "\n// hardness: no key\n" + kPreamble +
              "#ifndef LEAVE\n#define LEAVE\n#endif\n#define RIGHT if (NmrDeregisterProvider(Registration) == "
              "STATUS_PENDING) NmrWaitForProviderDeregisterComplete(Registration);\n" +
              kForgetful);
  }
  Said measure(const std::string& names) {
    const auto result =
        module::run_process({"/bin/sh", "-c",
                             "NMRFUZZ=" + std::string(kProgram) + " NMRFUZZ_CORPUS=" + folder_.string() +
                                 "/corpus " NMRFUZZ_SOURCE_DIR "/cmake/hardness.sh " + names + " 2>&1"});
    return {result.status, result.output, ""};
  }
  std::string planted(const std::string& name) const {
    return module::read_file(folder_ / "corpus/planted" / name).value_or("");
  }
};

TEST_F(HardnessScript, RewritesOneLineOfTheHead) {
  plant("a.c", "// expect: unload-registered\n// hardness: 9 schedules; 9 run to completion\n// needs: nothing\n");
  const std::string before = planted("a.c");
  const Said said = measure("");
  EXPECT_EQ(said.status, 0) << said.out;
  EXPECT_NE(said.out.find("a: 1 schedules; 1 run to completion; found with 20 of 20 seeds, signatures 1\n"),
            std::string::npos)
      << said.out;
  std::string expected = before;
  const std::string line = "9 schedules; 9 run";
  expected.replace(expected.find(line), line.size(), "1 schedules; 1 run");
  EXPECT_EQ(planted("a.c"), expected);
}

TEST_F(HardnessScript, WritesToTheVariantThatWasMeasured) {
  const std::string line = "// hardness: 9 schedules; 9 run to completion\n";
  plant("many.c", "// expect: unload-registered\n// variant: one -DUNUSED\n" + line + "// variant: two -DUNUSED=2\n" +
                      line + "// variant: three -DUNUSED=3\n");
  EXPECT_EQ(measure("two").status, 0);
  std::string error;
  const auto corpus = read_corpus(folder_ / "corpus", error);
  ASSERT_TRUE(corpus) << error;
  ASSERT_EQ(corpus->size(), 3U);
  EXPECT_EQ((*corpus)[0].hardness, (Hardness{9, 9, false})) << (*corpus)[0].name;
  EXPECT_EQ((*corpus)[2].hardness, (Hardness{1, 1, false})) << (*corpus)[2].name;
  const Said no_line = measure("three");
  EXPECT_EQ(no_line.status, 1);
  EXPECT_NE(no_line.out.find("has no line '// hardness:'"), std::string::npos) << no_line.out;
}

TEST_F(HardnessScript, FailsForWhatIsNotFoundOrIsSomethingElse) {
  const std::string line = "// hardness: 9 schedules; 9 run to completion\n";
  plant("harmless.c", "// expect: deadlock\n// variant: harmless -DLEAVE=RIGHT\n" + line);
  plant("other.c", "// expect: deadlock, irql\n// hardness: 9 schedules; 9 run to completion\n");
  const Said harmless = measure("harmless");
  EXPECT_EQ(harmless.status, 1);
  EXPECT_NE(harmless.out.find("harmless: seed 20: nothing found by the default hunt"), std::string::npos)
      << harmless.out;
  EXPECT_NE(harmless.out.find("harmless: none in 10000"), std::string::npos) << harmless.out;
  EXPECT_NE(planted("harmless.c").find(line), std::string::npos) << "a number was written that was not measured";
  const Said other = measure("other");
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.out.find("other: seed 1: unload-registered R"), std::string::npos) << other.out;
  EXPECT_EQ(measure("nobody").status, 1);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
