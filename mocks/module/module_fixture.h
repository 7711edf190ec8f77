// module_fixture.h - for unit tests: a folder of its own for sources and cache, and modules built and loaded from text.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <variant>

#include "module/compile.h"
#include "module/image.h"

namespace nmrfuzz::module {

class Folder {
 public:
  Folder() {
    std::string path = (std::filesystem::temp_directory_path() / "nmrfuzz-test-XXXXXX").string();
    path_ = mkdtemp(path.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  // Returns the path of the file.
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = path_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }

 private:
  std::string path_;
};

// Beside another fixture; alone it is ModuleFixture.
class ModuleTools {
 protected:
  // The variant that this program can load.
  static Variant variant() { return variant_named(NMRFUZZ_VARIANT).value_or(Variant::kPlain); }

  BuildRequest request_for(const std::vector<std::string>& sources) const {
    BuildRequest request;
    request.sources = sources;
    request.variants = {variant()};
    request.cache = folder / "cache";
    return request;
  }
  // Builds one source and returns the shared object's path.
  std::string shared_object(const std::string& name, const std::string& text) {
    auto result = build(request_for({folder.write(name, text)}));
    if (const auto* failure = std::get_if<BuildFailure>(&result)) {
      ADD_FAILURE() << failure->message;
      return "";
    }
    return std::get<Build>(result).shared_object(variant());
  }
  std::unique_ptr<Image> load(const std::string& name, const std::string& text, const LoadOptions& options = {}) {
    auto result = Image::load(shared_object(name, text), options);
    if (const auto* failure = std::get_if<LoadFailure>(&result)) {
      ADD_FAILURE() << failure->message;
      return nullptr;
    }
    return std::get<std::unique_ptr<Image>>(std::move(result));
  }
  LoadFailure load_failure(const std::string& path, const LoadOptions& options = {}) {
    auto result = Image::load(path, options);
    const auto* failure = std::get_if<LoadFailure>(&result);
    EXPECT_NE(failure, nullptr) << "it was loaded";
    return failure == nullptr ? LoadFailure{} : *failure;
  }

  Folder folder;
};

class ModuleFixture : public ::testing::Test, protected ModuleTools {};

// The address of what the module exports, as a function or object pointer.
template <class Pointer>
Pointer find(const Image& image, const char* name) {
  void* const symbol = image.symbol(name);
  EXPECT_NE(symbol, nullptr) << name;
  return reinterpret_cast<Pointer>(symbol);
}

}  // namespace nmrfuzz::module
