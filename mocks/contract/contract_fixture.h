// contract_fixture.h - for unit tests: event streams written by hand, and what the rules say about them.
//
// Each function of Stream writes the events that the registrar or the kernel would write for one step. Nothing ends a
// stream at its first finding here; the verdict is the first one.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <ostream>
#include <string_view>
#include <vector>

#include "contract/rules.h"
#include "kernel/routine.h"
#include "kernel/status.h"
#include "nmr/states.h"
#include "trace/recorder.h"

namespace nmrfuzz::contract {

// What a stream is found to be; without a kind: nothing.
struct Verdict {
  std::optional<FindingKind> kind;
  std::string_view rule;

  bool operator==(const Verdict&) const = default;
};

inline constexpr Verdict kRight{};

inline void PrintTo(const Verdict& verdict, std::ostream* out) {
  *out << (verdict.kind ? name_of(*verdict.kind) : "nothing") << " " << verdict.rule;
}

class Stream : private FindingSink {
 public:
  using Event = trace::Event;
  using Kind = trace::EventKind;
  using Routine = kernel::Routine;
  using Role = nmr::Role;
  using RegistrationState = nmr::RegistrationState;
  using Progress = nmr::DetachProgress;

  static constexpr trace::ModuleNumber kModule = 1;
  static constexpr trace::ModuleNumber kOtherModule = 2;

  Stream() { reset(); }

  // A new execution.
  void reset() {
    recorder_.reset();
    rules_.reset();
    findings_.clear();
    notes_.clear();
    write({});  // event number 0: the rules take 0 for "never"
  }
  std::uint64_t write(const Event& event) {
    recorder_.write(event);
    return recorder_.size() - 1;
  }

  trace::TraceHash hash() const { return recorder_.hash(); }
  const std::vector<Finding>& findings() const { return findings_; }
  const std::vector<Finding>& notes() const { return notes_; }
  // The rule of the only note; "none" or "several".
  std::string_view note() const { return notes_.empty() ? "none" : notes_.size() > 1 ? "several" : notes_[0].rule; }
  Verdict verdict() const {
    return findings_.empty() ? kRight : Verdict{findings_.front().kind, findings_.front().rule};
  }

  // --- Registrations, by number ------------------------------------------------------------------------------------

  std::uint64_t enter_register(trace::ObjectNumber number, Role role, trace::ModuleNumber module = kModule) {
    const std::uint64_t entered =
        write({.kind = Kind::kRegisterEnter,
               .routine = of(role == Role::kClient ? Routine::NmrRegisterClient : Routine::NmrRegisterProvider),
               .module = module,
               .object = number});
    move(number, RegistrationState::kNone, RegistrationState::kRegistering, module);
    return entered;
  }
  // Returns the number of the event in which it began.
  std::uint64_t register_one(trace::ObjectNumber number, Role role = Role::kProvider,
                             trace::ModuleNumber module = kModule) {
    const std::uint64_t entered = enter_register(number, role, module);
    move(number, RegistrationState::kRegistering, RegistrationState::kActive, module);
    return entered;
  }
  std::uint64_t deregister(trace::ObjectNumber number, trace::ModuleNumber module = kModule) {
    const std::uint64_t entered = use_handle(Kind::kDeregisterEnter, number, nmr::HandleState::kValid, module);
    move(number, RegistrationState::kActive, RegistrationState::kDeregistering, module);
    return entered;
  }
  void drain(trace::ObjectNumber number, trace::ModuleNumber module = kModule) {
    move(number, RegistrationState::kDeregistering, RegistrationState::kDrained, module);
  }
  void enter_wait(trace::ObjectNumber number, trace::ModuleNumber module = kModule) {
    use_handle(Kind::kWaitEnter, number, nmr::HandleState::kValid, module);
  }
  void close(trace::ObjectNumber number, trace::ModuleNumber module = kModule) {
    move(number, RegistrationState::kDrained, RegistrationState::kClosed, module);
  }
  // Deregisters and waits to the end.
  void leave(trace::ObjectNumber number, trace::ModuleNumber module = kModule) {
    deregister(number, module);
    drain(number, module);
    enter_wait(number, module);
    close(number, module);
  }
  // A call of the kinds that begin with a handle.
  std::uint64_t use_handle(Kind call, trace::ObjectNumber object, nmr::HandleState state,
                           trace::ModuleNumber module = kModule) {
    return write({.kind = call, .module = module, .object = object, .a = static_cast<std::uint64_t>(state)});
  }

  // --- Bindings, by number -----------------------------------------------------------------------------------------

  void attach_call_returns(trace::ObjectNumber binding, kernel::Status status) {
    write({.kind = Kind::kAttachCallExit, .module = kModule, .object = binding, .status = bits(status)});
  }
  std::uint64_t enter_callback(nmr::Callback callback, trace::ObjectNumber binding, trace::ThreadNumber thread = 0,
                               std::uint8_t irql = 0, trace::ModuleNumber module = kModule) {
    return write({.kind = Kind::kCallbackEnter,
                  .irql = irql,
                  .thread = thread,
                  .module = module,
                  .object = binding,
                  .a = static_cast<std::uint64_t>(callback)});
  }
  void offer(trace::ObjectNumber binding, trace::ObjectNumber client, trace::ObjectNumber provider) {
    write({.kind = Kind::kOffer, .object = binding, .a = client, .b = provider});
  }
  void callback_returns(nmr::Callback callback, trace::ObjectNumber binding, kernel::Status status,
                        std::uint64_t outputs = 0, trace::ModuleNumber module = kModule) {
    write({.kind = Kind::kCallbackExit,
           .module = module,
           .object = binding,
           .status = bits(status),
           .a = static_cast<std::uint64_t>(callback),
           .b = outputs});
  }
  void complete(Role role, trace::ObjectNumber binding, nmr::HandleState state = nmr::HandleState::kValid,
                Progress progress = Progress::kPending) {
    write({.kind = Kind::kComplete,
           .routine = of(role == Role::kClient ? Routine::NmrClientDetachProviderComplete
                                               : Routine::NmrProviderDetachClientComplete),
           .module = kModule,
           .object = binding,
           .a = static_cast<std::uint64_t>(state),
           .b = static_cast<std::uint64_t>(progress)});
  }
  void move_side(trace::ObjectNumber binding, Progress from, Progress to, trace::ModuleNumber module = kModule) {
    write({.kind = Kind::kSideState,
           .module = module,
           .object = binding,
           .a = static_cast<std::uint64_t>(from),
           .b = static_cast<std::uint64_t>(to)});
  }

  // --- Memory ------------------------------------------------------------------------------------------------------

  std::uint64_t allocate(trace::ObjectNumber block, trace::ModuleNumber module = kModule) {
    return write({.kind = Kind::kAllocate, .module = module, .object = block, .a = 16});
  }
  std::uint64_t free(trace::ObjectNumber block, trace::ModuleNumber module = kModule) {
    return write({.kind = Kind::kFree, .module = module, .object = block});
  }
  std::uint64_t breach(Routine routine, trace::Outcome outcome, trace::ObjectNumber object = 0) {
    return write(
        {.kind = Kind::kBreach, .routine = of(routine), .outcome = outcome, .module = kModule, .object = object});
  }

  // --- The module's life -------------------------------------------------------------------------------------------

  void entry_returns(kernel::Status status, trace::ModuleNumber module = kModule) {
    write({.kind = Kind::kDriverEntryExit, .module = module, .status = bits(status)});
  }
  void enter_unload(trace::ModuleNumber module = kModule) { write({.kind = Kind::kUnloadEnter, .module = module}); }
  void unload_returns(trace::ModuleNumber module = kModule) { write({.kind = Kind::kUnloadExit, .module = module}); }
  // `runs`: it is queued or running; else only held.
  void left_over(bool runs, trace::ObjectNumber object = 0, trace::ModuleNumber module = kModule) {
    write({.kind = Kind::kLeftOver, .module = module, .object = object, .b = runs ? 1U : 0U});
  }
  void image_goes(trace::ModuleNumber module = kModule) { write({.kind = Kind::kImageGone, .module = module}); }

  static trace::RoutineNumber of(Routine routine) { return static_cast<trace::RoutineNumber>(routine); }
  static std::uint32_t bits(kernel::Status status) { return static_cast<std::uint32_t>(status); }

 private:
  void move(trace::ObjectNumber number, RegistrationState from, RegistrationState to, trace::ModuleNumber module) {
    write({.kind = Kind::kRegistrationState,
           .module = module,
           .object = number,
           .a = static_cast<std::uint64_t>(from),
           .b = static_cast<std::uint64_t>(to)});
  }
  void report(Finding finding) override { findings_.push_back(finding); }
  void note(Finding made) override { notes_.push_back(made); }

  std::unique_ptr<trace::EventRing> ring_ = std::make_unique<trace::EventRing>();
  trace::Recorder recorder_{*ring_};
  Rules rules_{recorder_, *this};
  std::vector<Finding> findings_;
  std::vector<Finding> notes_;
};

// One stream and what is found in it.
struct StreamCase {
  const char* name;
  Verdict expected;
  void (*write)(Stream& stream);
};

template <std::size_t kCases>
void expect_verdicts(const StreamCase (&cases)[kCases]) {
  Stream stream;
  for (const StreamCase& each : cases) {
    SCOPED_TRACE(each.name);
    stream.reset();
    each.write(stream);
    EXPECT_EQ(stream.verdict(), each.expected);
  }
}

}  // namespace nmrfuzz::contract
