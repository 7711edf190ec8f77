#include "fuzz/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr double kTerminalSeconds = 0.5;
constexpr double kPlainSeconds = 10;

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)),
      terminal_(isatty(STDERR_FILENO) != 0),
      next_(terminal_ ? kTerminalSeconds : kPlainSeconds) {}

void Progress::update(std::uint64_t schedules, std::size_t findings, double seconds, std::optional<double> left) {
  if (seconds < next_) {
    return;
  }
  next_ = seconds + (terminal_ ? kTerminalSeconds : kPlainSeconds);
  const std::string line = fmt::format("{}: {} schedules, {:.0f}/s, {} finding{}, {}", what_, schedules,
                                       static_cast<double>(schedules) / seconds, findings, findings == 1 ? "" : "s",
                                       left ? duration_text(*left) + " left" : duration_text(seconds));
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\033[K" : "", line, terminal_ ? "" : "\n");
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (terminal_ && shown_) {
    std::fputs("\r\033[K", stderr);
    shown_ = false;
  }
}

}  // namespace nmrfuzz::fuzz
