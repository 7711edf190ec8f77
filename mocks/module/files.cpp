#include "module/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace nmrfuzz::module {

namespace {

bool write_all(int file, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = write(file, contents.data(), contents.size());
    if (written < 0 && errno != EINTR) {
      return false;
    }
    contents.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

std::optional<std::string> read_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return std::nullopt;
  }
  struct stat status = {};
  fstat(file, &status);
  std::string contents(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t size = 0;
  int error = 0;
  while (size < contents.size()) {
    const ssize_t got = read(file, contents.data() + size, contents.size() - size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    error = got < 0 ? errno : 0;
    if (got <= 0) {
      break;
    }
    size += static_cast<std::size_t>(got);
  }
  if (!S_ISREG(status.st_mode)) {
    error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  }
  close(file);
  if (error != 0) {
    errno = error;
    return std::nullopt;
  }
  contents.resize(size);
  return contents;
}

bool write_file(const std::string& path, std::string_view contents) {
  std::string temporary = path + ".XXXXXX";
  const int file = mkostemp(temporary.data(), O_CLOEXEC);
  if (file < 0) {
    return false;
  }
  const bool written = write_all(file, contents) && fchmod(file, 0644) == 0;
  if (close(file) == 0 && written && std::rename(temporary.c_str(), path.c_str()) == 0) {
    return true;
  }
  const int error = errno;
  unlink(temporary.c_str());
  errno = error;
  return false;
}

std::string last_error() { return std::generic_category().message(errno); }

}  // namespace nmrfuzz::module
