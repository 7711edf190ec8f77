#include "module/cache.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "module/files.h"

namespace nmrfuzz::module {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kBuildPrefix = "building-";

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string default_cache_folder() {
  if (const std::string chosen = variable("NMRFUZZ_CACHE"); !chosen.empty()) {
    return chosen;
  }
  if (const std::string caches = variable("XDG_CACHE_HOME"); !caches.empty()) {
    return caches + "/nmrfuzz";
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    return home + "/.cache/nmrfuzz";
  }
  return "/tmp/nmrfuzz-cache-" + std::to_string(getuid());
}

std::optional<std::vector<std::string>> Cache::dependencies(const std::string& request) const {
  const std::optional<std::string> text = read_file(folder_ + "/" + request + ".deps");
  if (!text) {
    return std::nullopt;
  }
  std::vector<std::string> paths;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    paths.push_back(line);
  }
  return paths;
}

bool Cache::set_dependencies(const std::string& request, const std::vector<std::string>& paths) const {
  std::string text;
  for (const std::string& path : paths) {
    text += path + "\n";
  }
  return write_file(folder_ + "/" + request + ".deps", text);
}

bool Cache::has_entry(const std::string& entry) const {
  std::error_code ignored;
  return fs::exists(entry_path(entry) + "/diagnostics", ignored);
}

std::optional<std::string> Cache::begin_build() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) {
    errno = error.value();
    return std::nullopt;
  }
  remove_abandoned_builds();
  std::string build = folder_ + "/" + std::string(kBuildPrefix) + "XXXXXX";
  if (mkdtemp(build.data()) == nullptr) {
    return std::nullopt;
  }
  return build;
}

// Builds of runs that were killed. A day is longer than any compilation.
void Cache::remove_abandoned_builds() const {
  std::error_code ignored;
  const auto oldest = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (const auto& item : fs::directory_iterator(folder_, ignored)) {
    const std::string name = item.path().filename();
    const auto written = item.last_write_time(ignored);
    if (name.starts_with(kBuildPrefix) && !ignored && written < oldest) {
      fs::remove_all(item.path(), ignored);
    }
  }
}

bool Cache::publish(const std::string& build, const std::string& entry) const {
  const std::string path = entry_path(entry);
  if (std::rename(build.c_str(), path.c_str()) == 0) {
    return true;
  }
  if (errno != ENOTEMPTY && errno != EEXIST) {
    return false;
  }
  if (has_entry(entry)) {
    discard(build);
    return true;
  }
  // Somebody has emptied the entry by hand.
  std::error_code error;
  fs::remove_all(path, error);
  return std::rename(build.c_str(), path.c_str()) == 0;
}

void Cache::discard(const std::string& build) const {
  std::error_code ignored;
  fs::remove_all(build, ignored);
}

}  // namespace nmrfuzz::module
