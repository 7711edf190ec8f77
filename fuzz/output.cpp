#include "fuzz/output.h"

#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "fuzz/exit_status.h"
#include "module/files.h"

namespace nmrfuzz::fuzz {

namespace fs = std::filesystem;

int refuse(const std::string& message) {
  fmt::print(stderr, "nmrfuzz: {}\n", message);
  return kUnusable;
}

bool make_writable_folder(const std::string& folder, std::string& error) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed || !fs::is_directory(folder, failed)) {
    error = fmt::format("cannot make the folder {}: {}", folder,
                        failed ? failed.message() : "something else of that name exists");
    return false;
  }
  // Permissions alone do not tell: the file system may be read-only or full.
  const std::string probe = fmt::format("{}/.nmrfuzz-{}", folder, getpid());
  if (!module::write_file(probe, "")) {
    error = fmt::format("cannot write to the folder {}: {}", folder, module::last_error());
    return false;
  }
  unlink(probe.c_str());
  return true;
}

bool can_write_json(const std::string& json, std::string& error) {
  if (json.empty() || json == "-") {
    return true;
  }
  std::error_code failed;
  if (fs::is_directory(json, failed)) {
    error = fmt::format("cannot write {}: it is a folder", json);
    return false;
  }
  const std::string folder = fs::path(json).parent_path();
  return make_writable_folder(folder.empty() ? "." : folder, error);
}

bool write_json(const std::string& json, const std::string& text) {
  if (json == "-") {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
    if (!written) {
      refuse("cannot write to standard output: " + module::last_error());
    }
    return written;
  }
  if (!json.empty() && !module::write_file(json, text)) {
    refuse(fmt::format("cannot write {}: {}", json, module::last_error()));
    return false;
  }
  return true;
}

}  // namespace nmrfuzz::fuzz
