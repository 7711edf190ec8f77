// output.h - where commands write, and how they refuse.
#pragma once

#include <cstdio>
#include <string>

namespace nmrfuzz::fuzz {

// "nmrfuzz: MESSAGE" on standard error. Returns kUnusable.
int refuse(const std::string& message);

// Where text for people goes when JSON goes to `json`.
inline std::FILE* human_output(const std::string& json) { return json == "-" ? stderr : stdout; }

// Makes `folder` and those above it as needed. False with what is wrong in `error` if files cannot be made in it.
bool make_writable_folder(const std::string& folder, std::string& error);
// Whether `json` can be written; "" and "-" always can.
bool can_write_json(const std::string& json, std::string& error);

// Writes `text` to `json`. False, after saying so, if that fails.
bool write_json(const std::string& json, const std::string& text);

}  // namespace nmrfuzz::fuzz
