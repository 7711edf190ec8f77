#include "fuzz/narrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "contract/rule_table.h"
#include "fuzz/event_text.h"
#include "kernel/object.h"
#include "module/stack.h"
#include "module/symbolizer.h"

namespace nmrfuzz::fuzz {

using contract::FindingKind;
using trace::Event;
using trace::EventKind;

namespace {

constexpr std::uint64_t kEventsShown = 40;

// One function of the module on a stack.
struct Frame {
  std::string function;
  std::string place;  // "file:line"
};

std::vector<Frame> module_frames(module::Symbolizer& symbolizer, std::span<module::Image* const> images,
                                 std::span<const std::uintptr_t> addresses) {
  std::vector<Frame> frames;
  for (const std::uintptr_t address : addresses) {
    for (const module::Image* const image : images) {
      if (!image->contains_code(address)) {
        continue;
      }
      for (const module::SourceFrame& frame : symbolizer.describe_call(*image, address)) {
        frames.push_back({frame.function.empty() ? "?" : frame.function, fmt::format("{}:{}", frame.file, frame.line)});
      }
    }
  }
  return frames;
}

std::vector<std::string> text_of(const std::vector<Frame>& frames) {
  std::vector<std::string> lines;
  for (const Frame& frame : frames) {
    lines.push_back(fmt::format("{} {}", frame.function, frame.place));
  }
  return lines;
}

std::string functions_of(const std::vector<Frame>& frames) {
  std::string functions;
  for (const Frame& frame : frames) {
    functions += functions.empty() ? "" : "<";
    functions += frame.function;
  }
  return functions;
}

// What a thread was last seen to wait in, by thread: for the text of a deadlock.
struct Waiting {
  std::string routine;
  trace::ObjectNumber object = 0;
};

std::map<trace::ThreadNumber, Waiting> waiting_threads(const trace::Recorder& recorder) {
  std::map<trace::ThreadNumber, Waiting> waiting;
  std::map<trace::ThreadNumber, std::string> last_routine;
  for (std::uint64_t number = recorder.first(); number < recorder.size(); ++number) {
    const Event& event = recorder.at(number);
    if (event.kind == EventKind::kBlock) {
      waiting[event.thread] = {last_routine[event.thread], event.object};
    } else if (event.kind != EventKind::kDeadlock) {
      waiting.erase(event.thread);
      if (event.routine != 0) {
        last_routine[event.thread] = routine_name(event);
      }
    }
  }
  return waiting;
}

std::string deadlock_title(const trace::Recorder& recorder) {
  std::string who;
  for (const auto& [thread, wait] : waiting_threads(recorder)) {
    if (!wait.routine.empty()) {
      who += fmt::format("{}t{} in {}", who.empty() ? "" : ", ", thread, wait.routine);
    }
  }
  return "every thread waits and nothing can wake one: " + who;
}

// The routines in which threads wait, sorted: which deadlock it is, whatever the threads' numbers.
std::string deadlock_signature(const trace::Recorder& recorder) {
  std::vector<std::string> routines;
  for (const auto& [thread, wait] : waiting_threads(recorder)) {
    if (!wait.routine.empty()) {
      routines.push_back(wait.routine);
    }
  }
  std::sort(routines.begin(), routines.end());
  routines.erase(std::unique(routines.begin(), routines.end()), routines.end());
  return fmt::format("{}", fmt::join(routines, "+"));
}

std::string left_over_title(const Event& event) {
  const auto* const name = kernel::name_of(static_cast<kernel::ObjectKind>(event.a));
  if (event.b == 0) {
    return fmt::format("{} {} is still held after the module is gone", name, event.object);
  }
  return event.object == 0 ? "a thread is still inside the module after DriverUnload returned"
                           : fmt::format("{} {} is queued or running after DriverUnload returned", name, event.object);
}

std::string_view leaving_routine(const Event& event) {
  return event.kind == EventKind::kDriverEntryExit ? "DriverEntry failed" : "DriverUnload returned";
}

std::string title_of(const contract::Finding& finding, const Event& cause, const trace::Recorder& recorder) {
  const Event& event = finding.event;
  const auto text = [](const Event& shown) {  // without the number and thread in front
    const std::string line = line_of(shown, 0);
    return line.substr(line.find(' ', line.find(' ') + 1) + 1);
  };
  switch (finding.kind) {
    case FindingKind::kUnloadRegistered:
      return fmt::format("{} while registration {} ({}) was never deregistered", leaving_routine(event), cause.object,
                         routine_name(cause));
    case FindingKind::kUnloadPending:
      return fmt::format("{} while the deregistration of registration {} ({}) was not complete", leaving_routine(event),
                         cause.object, routine_name(cause));
    case FindingKind::kUnloadRunning:
    case FindingKind::kResourceLeak: return left_over_title(event);
    case FindingKind::kMemoryLeak:
      return fmt::format("pool block {} of {} bytes from {} is still allocated after the module is gone", event.object,
                         cause.a, routine_name(cause));
    case FindingKind::kDeadlock:
      return event.kind == EventKind::kDeadlock ? deadlock_title(recorder) : text(event);
    default: return text(event);
  }
}

}  // namespace

std::vector<std::string> lines_of(const trace::Recorder& recorder) {
  std::vector<std::string> lines;
  for (std::uint64_t number = recorder.first(); number < recorder.size(); ++number) {
    lines.push_back(line_of(recorder.at(number), number));
  }
  return lines;
}

Narrator::Narrator(trace::Recorder& recorder, std::span<module::Image* const> images,
                   const contract::Finding& expected)
    : recorder_(recorder), images_(images), expected_(expected) {
  recorder_.subscribe_all(*this);
}

Narrator::~Narrator() { recorder_.unsubscribe(*this); }

void Narrator::capture(Stack& stack) const {
  stack.count = module::capture_stack(stack.frames.data(), stack.frames.size());
}

void Narrator::on_event(const Event& event) {
  if (recorder_.size() - 1 == expected_.cause_number) {
    cause_ = event;
    capture(cause_stack_);
  }
}

void Narrator::on_finding(const contract::Finding& finding) {
  found_ = finding;
  capture(found_stack_);
  if (finding.cause_number == finding.event_number) {
    cause_ = finding.event;
    cause_stack_ = found_stack_;
  }
}

Report Narrator::report() const {
  module::Symbolizer symbolizer;
  const auto frames = [&](const Stack& stack) {
    return module_frames(symbolizer, images_, {stack.frames.data(), stack.count});
  };
  const std::vector<Frame> found = frames(found_stack_);
  const std::vector<Frame> cause = frames(cause_stack_);
  Report report;
  report.kind = contract::name_of(found_.kind);
  report.rule = found_.rule;
  report.title = title_of(found_, cause_, recorder_);
  report.stack = text_of(found);
  if (found_.cause_number != found_.event_number) {
    report.cause_stack = text_of(cause);
  }
  const std::string where =
      found_.event.kind == EventKind::kDeadlock ? deadlock_signature(recorder_) : functions_of(cause);
  report.signature = fmt::format("{}:{}:{}:{}", report.kind, report.rule, routine_name(cause_), where);
  const std::uint64_t first =
      std::max(recorder_.first(), found_.event_number > kEventsShown ? found_.event_number - kEventsShown : 0);
  for (std::uint64_t number = first; number <= found_.event_number; ++number) {
    report.events.push_back(line_of(recorder_.at(number), number));
  }
  return report;
}

}  // namespace nmrfuzz::fuzz
