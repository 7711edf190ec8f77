#include "module/artifact.h"

#include "module/files.h"
#include "module/module_fixture.h"

namespace nmrfuzz::module {
namespace {

class ArtifactTest : public ModuleFixture {
 protected:
  // Writes driver.nmr from a source that returns `value`.
  std::variant<Artifact, ArtifactError> make(const std::string& value = "1") {
    request = request_for({folder.write("driver.c", "int DriverEntry(void) { return " + value + "; }\n")});
    request.options = {"-DX=\"\xff\"", "-I."};
    auto result = build(request);
    EXPECT_TRUE(std::holds_alternative<Build>(result)) << std::get<BuildFailure>(result).message;
    return write_artifact(place, request, std::get<Build>(result));
  }
  std::string error_of(const std::variant<Artifact, ArtifactError>& result) {
    const auto* error = std::get_if<ArtifactError>(&result);
    return error == nullptr ? "" : error->message;
  }

  std::string place = folder / "driver.nmr";
  std::string description = place + "/module.json";
  BuildRequest request;
};

TEST_F(ArtifactTest, ReadsBackWhatWasWritten) {
  make();
  const auto result = open_artifact(place);
  ASSERT_EQ(error_of(result), "");
  const auto& artifact = std::get<Artifact>(result);
  EXPECT_EQ(artifact.name, "driver");
  EXPECT_EQ(artifact.sources, request.sources);
  EXPECT_EQ(artifact.options.size(), 2U);
  EXPECT_EQ(artifact.source_hash.size(), 16U);
  EXPECT_EQ(artifact.shared_object(variant()), place + "/" + std::string(name_of(variant())) + ".so");
  auto image = Image::load(artifact.shared_object(variant()));
  ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Image>>(image));
}

TEST_F(ArtifactTest, ReplacesAnEarlierOne) {
  const auto first = make("1");
  const auto second = make("2");
  ASSERT_EQ(error_of(second), "");
  EXPECT_NE(std::get<Artifact>(first).source_hash, std::get<Artifact>(second).source_hash);
  for (const auto& item : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_EQ(item.path().filename().string().find("driver.nmr."), std::string::npos) << "left behind";
  }
}

TEST_F(ArtifactTest, LeavesOtherThingsAlone) {
  folder.write("driver.nmr", "a file");
  EXPECT_NE(error_of(make()).find("is in the way"), std::string::npos);
  EXPECT_EQ(read_file(place), "a file");
  std::filesystem::remove(place);
  folder.write("driver.nmr/notes", "a folder");
  EXPECT_NE(error_of(make()).find("is in the way"), std::string::npos);
  place = folder / "no/such/folder/driver.nmr";
  EXPECT_NE(error_of(make()).find("No such file"), std::string::npos);
}

TEST_F(ArtifactTest, DamageIsTold) {
  ASSERT_EQ(error_of(make()), "");
  const std::string whole = *read_file(description);
  const std::string shared_object = place + "/" + std::string(name_of(variant())) + ".so";
  const struct {
    const char* name;
    std::string text;
    const char* expected;
  } rows[] = {
      {"empty", "", "damaged"},
      {"truncated", whole.substr(0, whole.size() / 2), "damaged"},
      {"garbage", std::string("\x7f\0\xff\xfe", 4), "damaged"},
      {"not an object", "[1]", "damaged"},
      {"no fields", "{\"format\":1}", "damaged"},
      {"other format", "{\"format\":99}", "format 99"},
      {"field of another type", R"({"format":1,"name":3})", "damaged"},
      {"no variant", R"({"format":1,"name":"x","sources":[],"options":[],"source_hash":"0","variants":{}})",
       "no variant"},
      {"file elsewhere",
       R"({"format":1,"name":"x","sources":[],"options":[],"source_hash":"0","variants":{"plain":{"file":"../../x"}}})",
       "unknown variant"},
  };
  for (const auto& row : rows) {
    folder.write("driver.nmr/module.json", row.text);
    const std::string error = error_of(open_artifact(place));
    EXPECT_NE(error.find(row.expected), std::string::npos) << row.name << ": " << error;
    EXPECT_NE(error.find(place), std::string::npos) << row.name;
  }
  folder.write("driver.nmr/module.json", whole);
  ASSERT_EQ(error_of(open_artifact(place)), "");

  std::filesystem::resize_file(shared_object, std::filesystem::file_size(shared_object) - 1);
  EXPECT_NE(error_of(open_artifact(place)).find("truncated"), std::string::npos);
  std::filesystem::remove(shared_object);
  EXPECT_NE(error_of(open_artifact(place)).find("No such file"), std::string::npos);
  std::filesystem::remove(description);
  EXPECT_NE(error_of(open_artifact(place)).find("module.json"), std::string::npos);
  EXPECT_NE(error_of(open_artifact(folder / "none.nmr")).find("no such folder"), std::string::npos);
  EXPECT_NE(error_of(open_artifact(folder / "driver.c")).find("not a folder"), std::string::npos);
}

}  // namespace
}  // namespace nmrfuzz::module
