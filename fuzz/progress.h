// progress.h - how a long run gets on, on standard error: one line kept up to date on a terminal, else a line now and
// then; nothing for short runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace nmrfuzz::fuzz {

class Progress {
 public:
  // `what`: begins each line.
  explicit Progress(std::string what);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `seconds`: since the start; `left`: until the budget ends, if it is one of time.
  void update(std::uint64_t schedules, std::size_t findings, double seconds, std::optional<double> left);
  // Removes the line from the terminal.
  void clear();

 private:
  std::string what_;
  bool terminal_;
  bool shown_ = false;
  double next_;  // second of the next line
};

}  // namespace nmrfuzz::fuzz
