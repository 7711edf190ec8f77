// narrator.h - a finding in words: the stacks, the title, the signature, the events that led to it.
//
// Works on a repetition of the execution, with the finding known beforehand: it watches for the event of the cause and
// keeps the stack that is in force there. The hot loop knows nothing of it.
#pragma once

#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "contract/finding.h"
#include "fuzz/engine.h"
#include "fuzz/race_text.h"
#include "module/image.h"
#include "module/symbolizer.h"
#include "nmr/fiber_port.h"
#include "race/accesses.h"
#include "trace/recorder.h"

namespace nmrfuzz::fuzz {

// Every event that the ring still holds, a line each: "#12 t3 KeSetEvent event 4".
std::vector<std::string> lines_of(const trace::Recorder& recorder);

class Narrator final : public trace::Observer, private race::Accesses::Watcher {
 public:
  // Everything must outlive the narrator. Subscribes to all events for its own life.
  Narrator(trace::Recorder& recorder, const nmr::FiberRegistrar& registrar, std::span<module::Image* const> images,
           race::Accesses* accesses, const contract::Finding& expected);
  ~Narrator() override;

  void on_event(const trace::Event& event) override;
  // The finding has come again, on the stack that is in force now.
  void on_finding(const contract::Finding& finding);
  // A note of the execution; the expected one, or another.
  void on_note(const contract::Finding& note);
  bool has_found() const { return has_found_; }
  Report report() const;

 private:
  static constexpr std::size_t kFrames = 64;
  struct Stack {
    std::array<std::uintptr_t, kFrames> frames{};
    std::size_t count = 0;
  };

  struct Waiter;

  // The earlier access of a data race is about to be made again.
  void on_ordinal(const void* pointer, const race::Shape& shape) override;
  void describe_race(module::Symbolizer& symbolizer, Report& report) const;
  void capture(Stack& stack) const;
  bool is_expected(const contract::Finding& finding) const;
  bool brings_left_over(const trace::Event& event);
  std::uintptr_t returned_callback(const trace::Event& event) const;
  std::vector<Waiter> waiters(module::Symbolizer& symbolizer) const;
  void describe_deadlock(module::Symbolizer& symbolizer, Report& report) const;
  bool is_symmetric() const;

  trace::Recorder& recorder_;
  const nmr::FiberRegistrar& registrar_;
  std::span<module::Image* const> images_;
  race::Accesses* accesses_;  // nullptr where they are off
  contract::Finding expected_;
  RacingAccess earlier_access_;
  std::ptrdiff_t offset_in_block_ = 0;  // of what it touches, if that is in the pool
  contract::Finding found_;
  bool has_found_ = false;
  bool left_over_made_ = false;  // the record of what is left over has been seen
  bool timer_set_ = false;       // its timer too
  std::uint64_t cause_number_ = 0;
  trace::Event cause_;
  Stack cause_stack_;
  Stack found_stack_;
  std::map<trace::ThreadNumber, Stack> blocked_stacks_;  // of each thread's latest wait
};

}  // namespace nmrfuzz::fuzz
