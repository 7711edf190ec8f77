// words.h - small conversions between text and values that several commands share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nmrfuzz::fuzz {

// The whole of `text` as a decimal number.
std::optional<std::uint64_t> parse_number(std::string_view text);
// As above, of exactly 16 hexadecimal digits.
std::optional<std::uint64_t> parse_hash(std::string_view text);
// Seconds: "60s", "5m", "2h", or a plain number of seconds; fractions are allowed.
std::optional<double> parse_duration(std::string_view text);
// "12 s", "3 min", "2 h 5 min".
std::string duration_text(double seconds);

// 16 hexadecimal digits.
std::string hash_text(std::uint64_t hash);

// The parts of `text` between separators, empty ones included; one part if there is none.
std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
// Without blanks at both ends.
std::string_view trim(std::string_view text);

// The candidate with the fewest edits to `given`; nullopt if none is near enough to be meant.
std::optional<std::string> nearest(std::string_view given, std::span<const std::string> candidates);
// ", did you mean 'x'?" for the nearest candidate; empty without one.
std::string suggestion(std::string_view given, std::span<const std::string> candidates);

}  // namespace nmrfuzz::fuzz
