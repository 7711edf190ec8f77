// files.h - whole files in and out, and errors of the operating system in words.
// Thread safety: all functions may be called at the same time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nmrfuzz::module {

// The contents of a regular file; nullopt with errno set if it cannot be read.
std::optional<std::string> read_file(const std::string& path);
// Writes under a temporary name beside `path` and renames, so that a reader sees the old or the new contents, whole.
// Returns false with errno set if that fails.
bool write_file(const std::string& path, std::string_view contents);
// "No such file or directory", for the errno of the last call.
std::string last_error();

}  // namespace nmrfuzz::module
