// command_worlds_test.cpp - the switches of a world as users of the nmrfuzz program meet them.
#include <set>
#include <utility>

#include "fuzz/command_fixture.h"

namespace nmrfuzz::fuzz {
namespace {

TEST_F(Command, WorldsAreExplained) {
  const Json worlds = Json::parse(run("rules --worlds --json").out, nullptr, false);
  ASSERT_FALSE(worlds["worlds"].empty());
  const Said text = run("rules --worlds");
  EXPECT_EQ(text.status, 0) << text.err;
  std::set<std::string> points;
  for (const Json& each : worlds["worlds"]) {
    points.insert(each["point"].get<std::string>());
    EXPECT_TRUE(each["name"].is_string() && each["question"].get<std::string>().ends_with("?")) << each;
    ASSERT_GE(each["variants"].size(), 2U) << each;
    EXPECT_EQ(each["variants"][0]["name"], each["default"]) << each;
    EXPECT_EQ(each["variants"][0]["drawn"], true) << each;
    for (const Json& variant : each["variants"]) {
      EXPECT_TRUE(variant["drawn"].is_boolean() && variant["meaning"].get<std::string>().ends_with(".")) << variant;
      EXPECT_NE(text.out.find(variant["meaning"].get<std::string>()), std::string::npos) << variant;
    }
  }
  for (int point = 1; point <= 31; ++point) {
    const bool has_variants = point != 20 && point != 30;
    EXPECT_EQ(points.contains("A" + std::to_string(point)), has_variants) << point;
  }
}

// An error from Deregister (R92): a module that goes on as if it had deregistered, one that tries again, and one whose
// error branch has the shape of the documentation's example.
TEST_F(Command, ErrorsOfDeregister) {
  const auto hunt = [this](const std::string& module) {
    fs::remove_all(folder_ / "out");
    const Said result =
        run("hunt " + module + " --world dereg_error=inject_once --schedules 2000 --out out --json result.json");
    const Json json = Json::parse(module::read_file(folder_ / "result.json").value_or("{}"), nullptr, false);
    return std::pair(result, json.value("findings", Json::array()));
  };
  const auto [retried, no_findings] = hunt("seed-sample");
  EXPECT_EQ(retried.status, 0) << retried.out << retried.err;

  write("tries-again.c",
        std::string(kPreamble) +
            "#define LEAVE NTSTATUS s; while (!NT_SUCCESS(s = NmrDeregisterProvider(Registration))) {} "
            "if (s == STATUS_PENDING) NmrWaitForProviderDeregisterComplete(Registration);\n" +
            kForgetful);
  EXPECT_EQ(hunt("tries-again.c").first.status, 0);

  write_module("goes-on.c", true);
  const auto [gone_on, findings] = hunt("goes-on.c");
  ASSERT_EQ(gone_on.status, 1) << gone_on.err;
  EXPECT_EQ(findings[0]["kind"], "unload-registered") << findings;
  EXPECT_EQ(findings[0]["rule"], "R92") << findings;
  const Said replayed = run("replay " + reproducer());
  EXPECT_EQ(replayed.status, 1) << replayed.out << replayed.err;
}

}  // namespace
}  // namespace nmrfuzz::fuzz
