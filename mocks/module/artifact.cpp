#include "module/artifact.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "module/content_hash.h"
#include "module/files.h"

namespace nmrfuzz::module {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kFormat = 1;
constexpr const char* kDescription = "module.json";

std::string hash_of(std::string_view contents) {
  ContentHash hash;
  hash.add(contents);
  return hash.hex();
}

std::string shared_object_name(Variant variant) { return std::string(name_of(variant)) + ".so"; }

// "driver" for "out/driver.nmr" and "out/driver.nmr/".
std::string name_from(const std::string& path) {
  fs::path normal = fs::path(path).lexically_normal();
  if (!normal.has_filename()) {
    normal = normal.parent_path();
  }
  return normal.stem();
}

ArtifactError damaged(const std::string& path, const std::string& what) {
  return {path + ": " + what + "; make it again with nmrfuzz-cc"};
}

// Throws json::exception if a field is missing or of another type.
std::variant<Artifact, ArtifactError> read_description(const std::string& path, const json& description) {
  if (const int format = description.at("format").get<int>(); format != kFormat) {
    return damaged(path, "has format " + std::to_string(format) + ", this program reads " + std::to_string(kFormat));
  }
  Artifact artifact;
  description.at("name").get_to(artifact.name);
  description.at("sources").get_to(artifact.sources);
  description.at("options").get_to(artifact.options);
  description.at("source_hash").get_to(artifact.source_hash);
  for (const auto& [name, entry] : description.at("variants").items()) {
    const auto variant = variant_named(name);
    const auto file = entry.at("file").get<std::string>();
    if (!variant || file != shared_object_name(*variant)) {
      return damaged(path, "names an unknown variant \"" + name + "\"");
    }
    const std::string shared_object = path + "/" + file;
    const std::optional<std::string> contents = read_file(shared_object);
    if (!contents) {
      return damaged(shared_object, last_error());
    }
    if (contents->size() != entry.at("bytes").get<std::size_t>() ||
        hash_of(*contents) != entry.at("hash").get<std::string>()) {
      return damaged(shared_object, "is not what was written there (truncated or changed)");
    }
    artifact.shared_objects[static_cast<std::size_t>(*variant)] = shared_object;
  }
  if (artifact.shared_objects == Artifact().shared_objects) {
    return damaged(path, "has no variant");
  }
  return artifact;
}

// Empty if all of it could be written to `folder`.
std::string write_contents(const std::string& folder, const std::string& name, const BuildRequest& request,
                           const Build& build) {
  json variants = json::object();
  for (const Variant variant : kAllVariants) {
    if (build.shared_object(variant).empty()) {
      continue;
    }
    const std::string file = shared_object_name(variant);
    const std::optional<std::string> contents = read_file(build.shared_object(variant));
    if (!contents) {
      return build.shared_object(variant) + ": " + last_error();
    }
    if (!write_file(folder + "/" + file, *contents)) {
      return folder + "/" + file + ": " + last_error();
    }
    variants[std::string(name_of(variant))] = {
        {"file", file}, {"bytes", contents->size()}, {"hash", hash_of(*contents)}};
  }
  const json description = {{"format", kFormat},
                            {"name", name},
                            {"sources", request.sources},
                            {"options", request.options},
                            {"source_hash", build.source_hash},
                            {"variants", variants}};
  // Command lines may hold bytes that are not UTF-8.
  const std::string text = description.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  return write_file(folder + "/" + kDescription, text) ? "" : folder + "/" + kDescription + ": " + last_error();
}

// Puts `folder` in the place of `path`, where nothing is or an earlier artifact. False with errno set on failure.
bool put_in_place(const std::string& folder, const std::string& path) {
  if (std::rename(folder.c_str(), path.c_str()) == 0) {
    return true;
  }
  if (errno != ENOTEMPTY && errno != EEXIST) {
    return false;
  }
  return renameat2(AT_FDCWD, folder.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0;
}

}  // namespace

std::variant<Artifact, ArtifactError> open_artifact(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    return ArtifactError{path + (fs::exists(path, ignored) ? ": not a folder, so not a compiled module"
                                                           : ": no such folder; make it with nmrfuzz-cc -o " + path)};
  }
  const std::optional<std::string> text = read_file(path + "/" + kDescription);
  if (!text) {
    return damaged(path, std::string("cannot read its ") + kDescription + ": " + last_error());
  }
  try {
    return read_description(path, json::parse(*text));
  } catch (const json::exception& error) {
    return damaged(path, std::string("its ") + kDescription + " is damaged: " + error.what());
  }
}

std::variant<Artifact, ArtifactError> write_artifact(const std::string& path, const BuildRequest& request,
                                                     const Build& build) {
  std::string place = path;
  while (place.size() > 1 && place.ends_with('/')) {
    place.pop_back();
  }
  std::error_code ignored;
  if (fs::exists(place, ignored) && !fs::exists(place + "/" + kDescription, ignored) && !fs::is_empty(place, ignored)) {
    return ArtifactError{place + ": is in the way and is not a compiled module; name another place with -o"};
  }
  std::string folder = place + ".XXXXXX";
  if (mkdtemp(folder.data()) == nullptr || chmod(folder.c_str(), 0755) != 0) {
    return ArtifactError{place + ": cannot be written: " + last_error()};
  }
  std::string error = write_contents(folder, name_from(place), request, build);
  if (error.empty() && !put_in_place(folder, place)) {
    error = place + ": " + last_error();
  }
  fs::remove_all(folder, ignored);  // what is left, or the artifact that was replaced
  if (!error.empty()) {
    return ArtifactError{error};
  }
  return open_artifact(place);
}

}  // namespace nmrfuzz::module
