// failure_watch.h - where in the module the calls were that an execution made fail.
//
// A site is a routine and the place in the module that called it. Reads the stream; takes a stack at each injected
// failure, so it is for sweeps, whose executions have one or two.
// Thread safety: none. Allocates nothing during an execution.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "module/image.h"
#include "trace/recorder.h"

namespace nmrfuzz::fuzz {

struct FailureSite {
  trace::RoutineNumber routine = 0;
  std::uint32_t image = 0;     // its index
  std::uintptr_t address = 0;  // return address in the module; 0 if it is not on the stack

  auto operator<=>(const FailureSite&) const = default;
};

class FailureWatch final : public trace::Observer {
 public:
  // Both outlive it. Subscribes for its own life.
  FailureWatch(trace::Recorder& recorder, std::span<module::Image* const> images);
  ~FailureWatch() override;

  void reset() { count_ = 0; }
  // Of the first failures since reset().
  std::span<const FailureSite> sites() const { return std::span(sites_).first(count_); }

 private:
  static constexpr std::size_t kMaximum = 2;

  void on_event(const trace::Event& event) override;

  trace::Recorder& recorder_;
  std::span<module::Image* const> images_;
  std::array<FailureSite, kMaximum> sites_;
  std::size_t count_ = 0;
};

}  // namespace nmrfuzz::fuzz
