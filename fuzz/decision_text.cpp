#include "fuzz/decision_text.h"

#include <fmt/core.h>

#include <limits>

#include "fuzz/words.h"
#include "schedule/limits.h"

namespace nmrfuzz::fuzz {

std::string print_decisions(std::span<const std::uint16_t> decisions, std::string_view indent, std::size_t columns) {
  std::string text;
  std::size_t line_start = 0;
  for (std::size_t at = 0; at < decisions.size();) {
    std::size_t end = at + 1;
    while (end < decisions.size() && decisions[end] == decisions[at]) {
      ++end;
    }
    const std::string run =
        end - at == 1 ? std::to_string(decisions[at]) : fmt::format("{}*{}", decisions[at], end - at);
    if (text.empty()) {
      text = indent;
    } else if (text.size() - line_start + 1 + run.size() > columns) {
      text += '\n';
      line_start = text.size();
      text += indent;
    } else {
      text += ' ';
    }
    text += run;
    at = end;
  }
  return text;
}

bool parse_decisions(std::string_view line, Decisions& decisions, std::string& error) {
  for (const std::string& word : split(line, ' ')) {
    if (word.empty()) {
      continue;
    }
    const std::size_t star = word.find('*');
    const auto value = parse_number(std::string_view(word).substr(0, star));
    const auto count = star == std::string::npos ? 1 : parse_number(std::string_view(word).substr(star + 1));
    if (!value || *value > std::numeric_limits<std::uint16_t>::max() || !count || *count == 0) {
      error = fmt::format("'{}', expected a decision (0 to 65535) or VALUE*COUNT", word);
      return false;
    }
    if (*count > schedule::kDecisionsMaximum - decisions.size()) {
      error = fmt::format("more than {} decisions", schedule::kDecisionsMaximum);
      return false;
    }
    decisions.insert(decisions.end(), *count, static_cast<std::uint16_t>(*value));
  }
  return true;
}

}  // namespace nmrfuzz::fuzz
