// decision_text.h - the answers of one execution as text: "1*3 2 1 0*17", value*count for runs, separated by blanks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nmrfuzz::fuzz {

using Decisions = std::vector<std::uint16_t>;

// Each line begins with `indent` and has at most `columns` characters; no line break behind the last.
std::string print_decisions(std::span<const std::uint16_t> decisions, std::string_view indent, std::size_t columns);

// Appends what one line of that text says. False with a description in `error` if it is malformed, or if there would be
// more than schedule::kDecisionsMaximum.
bool parse_decisions(std::string_view line, Decisions& decisions, std::string& error);

}  // namespace nmrfuzz::fuzz
