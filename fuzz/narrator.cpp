#include "fuzz/narrator.h"

#include <fmt/format.h>

#include <algorithm>

#include "fuzz/event_text.h"
#include "fuzz/waits.h"
#include "kernel/kernel.h"
#include "kernel/object.h"
#include "module/compile.h"
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

// The frames of the modules on a stack. `innermost`: only those of the innermost call into a module, since what lies
// behind it, on the other side of a callback, is another thread in another schedule.
std::vector<Frame> module_frames(module::Symbolizer& symbolizer, std::span<module::Image* const> images,
                                 std::span<const std::uintptr_t> addresses, bool innermost) {
  static const std::string headers = module::Toolchain().headers;
  std::vector<Frame> frames;
  for (const std::uintptr_t address : addresses) {
    const auto image = std::find_if(images.begin(), images.end(),
                                    [&](const module::Image* each) { return each->contains_code(address); });
    if (image == images.end()) {
      if (innermost && !frames.empty()) {
        break;
      }
      continue;
    }
    for (const module::SourceFrame& frame : symbolizer.describe_call(**image, address)) {
      // Inline functions of ours. The path may be relative to where the module was compiled.
      if (!frame.file.starts_with(headers) && frame.file.find("include/nmrfuzz/") == std::string::npos) {
        frames.push_back({frame.function.empty() ? "?" : frame.function, fmt::format("{}:{}", frame.file, frame.line)});
      }
    }
  }
  return frames;
}

std::vector<std::string> lines_of(const std::vector<Frame>& frames) {
  std::vector<std::string> lines;
  lines.reserve(frames.size());
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

std::string left_over_title(const Event& event) {
  const auto* const name = kernel::name_of(static_cast<kernel::ObjectKind>(event.a));
  if (event.b == 0) {
    return fmt::format("{} {} is still held after the module is gone", name, event.object);
  }
  return event.object == 0 ? "a thread is still inside the module after DriverUnload returned"
                           : fmt::format("{} {} is queued or running after DriverUnload returned", name, event.object);
}

bool sets_timer(const Event& event) {
  switch (static_cast<kernel::Routine>(event.routine)) {
    case kernel::Routine::KeSetTimer:
    case kernel::Routine::KeSetTimerEx:
    case kernel::Routine::KeSetCoalescableTimer:
    case kernel::Routine::ExSetTimer:
      return true;
    default:
      return false;
  }
}

std::string_view leaving_routine(const Event& event) {
  return event.kind == EventKind::kDriverEntryExit ? "DriverEntry failed" : "DriverUnload returned";
}

// `where`: the function of the module in which it was found; may be empty.
std::string title_of(const contract::Finding& finding, const Event& cause, const std::string& where) {
  const Event& event = finding.event;
  const std::string place = where.empty() ? "" : fmt::format(", in {}", where);
  switch (finding.kind) {
    case FindingKind::kUnloadRegistered:
      return fmt::format("{} while registration {} ({}) was never deregistered", leaving_routine(event), cause.object,
                         routine_name(cause));
    case FindingKind::kUnloadPending:
      return fmt::format("{} while the deregistration of registration {} ({}) was not complete", leaving_routine(event),
                         cause.object, routine_name(cause));
    case FindingKind::kUnloadRunning:
    case FindingKind::kResourceLeak:
      return left_over_title(event);
    case FindingKind::kMemoryLeak:
      return fmt::format("pool block {} of {} bytes from {} is still allocated after the module is gone", event.object,
                         cause.a, routine_name(cause));
    case FindingKind::kUseAfterDetach:
      return (event.kind == EventKind::kNpiCallEnter ? title_of_call(event, finding.rule)
                                                     : title_of_unfinished_call(event, cause)) +
             place;
    default:
      return text_of(event) + place;
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

Narrator::Narrator(trace::Recorder& recorder, const nmr::FiberRegistrar& registrar,
                   std::span<module::Image* const> images, race::Accesses* accesses, const contract::Finding& expected)
    : recorder_(recorder), registrar_(registrar), images_(images), accesses_(accesses), expected_(expected) {
  recorder_.subscribe_all(*this);
  if (accesses_ != nullptr && expected_.kind == FindingKind::kDataRace) {
    accesses_->watch(this, expected_.event.b);
  }
}

Narrator::~Narrator() {
  recorder_.unsubscribe(*this);
  if (accesses_ != nullptr) {
    accesses_->watch(nullptr, 0);
  }
}

void Narrator::on_ordinal(const void* pointer, const race::Shape& shape) {
  kernel::Kernel& kernel = kernel::current_kernel();
  const schedule::Thread& thread = kernel.scheduler().current();
  if (kernel::Pool::contains(pointer)) {
    const auto* const start = kernel.pool().address(kernel.pool().block_around(pointer));
    offset_in_block_ = static_cast<const char*>(pointer) - static_cast<const char*>(start);
  }
  earlier_access_ = {thread.number, thread.irql, shape, pointer, recorder_.size()};
  capture(cause_stack_);
}

void Narrator::capture(Stack& stack) const {
  stack.count = module::capture_stack(stack.frames.data(), stack.frames.size());
}

void Narrator::on_event(const Event& event) {
  if (event.kind == EventKind::kBlock) {
    capture(blocked_stacks_[event.thread]);
  }
  if (expected_.kind != FindingKind::kDataRace &&
      (recorder_.size() - 1 == expected_.cause_number || brings_left_over(event))) {
    cause_ = event;
    cause_number_ = recorder_.size() - 1;
    capture(cause_stack_);
  }
}

// Whether `event` is behind the object that is going to be left over: it queued or used it, or is that of the call that
// made its record. The last such event is the cause; of the calls that set a timer, or a timer with the DPC, it is the
// first, since which of them set it for the last time differs between schedules. What the clock queues was set off
// earlier.
bool Narrator::brings_left_over(const Event& event) {
  const trace::ObjectNumber left = expected_.event.object;
  if (expected_.event.kind != EventKind::kLeftOver || left == 0 || event.thread == 0 || timer_set_ ||
      (event.kind != EventKind::kCall && event.kind != EventKind::kWorkQueued)) {
    return false;
  }
  timer_set_ = event.kind == EventKind::kCall && (event.b == left || event.object == left) && sets_timer(event);
  const bool made =
      event.kind == EventKind::kCall && !left_over_made_ && kernel::current_kernel().objects().limit() > left;
  left_over_made_ |= made;
  return event.object == left || timer_set_ || made;
}

bool Narrator::is_expected(const contract::Finding& finding) const {
  return finding.event_number == expected_.event_number && finding.rule == expected_.rule;
}

void Narrator::on_finding(const contract::Finding& finding) {
  if (!is_expected(finding)) {
    return;
  }
  has_found_ = true;
  found_ = finding;
  capture(found_stack_);
  if (finding.kind == FindingKind::kDataRace) {
    cause_ = finding.event;
    return;
  }
  if (finding.cause_number != finding.event_number) {
    return;
  }
  if (finding.event.kind == EventKind::kLeftOver && cause_number_ != 0 && cause_number_ != finding.event_number) {
    found_.cause_number = cause_number_;
  } else {
    cause_ = finding.event;
    cause_stack_ = found_stack_;
  }
}

void Narrator::on_note(const contract::Finding& note) { on_finding(note); }

// What is found when a callback of NMR has returned is found outside of it: the callback's address, 0 for other events.
std::uintptr_t Narrator::returned_callback(const Event& event) const {
  const auto first = static_cast<trace::RoutineNumber>(kernel::Routine::ClientAttachProvider);
  const auto last = static_cast<trace::RoutineNumber>(kernel::Routine::ProviderCleanupBindingContext);
  if ((event.kind != EventKind::kCallbackExit && event.kind != EventKind::kBreach) || event.routine < first ||
      event.routine > last) {
    return 0;
  }
  for (std::uint64_t number = found_.event_number; number-- > recorder_.first();) {
    const Event& entered = recorder_.at(number);
    if (entered.kind != EventKind::kCallbackEnter || entered.thread != event.thread ||
        entered.routine != event.routine) {
      continue;
    }
    const bool is_client = event.routine < static_cast<trace::RoutineNumber>(kernel::Routine::ProviderAttachClient);
    const nmr::Side& side = registrar_.binding(entered.object).sides[is_client ? 0 : 1];
    const nmr::Callbacks& callbacks = side.registration->characteristics.callbacks;
    const std::array<void*, 3> addresses = {callbacks.attach, callbacks.detach, callbacks.cleanup};
    return reinterpret_cast<std::uintptr_t>(addresses.at((event.routine - first) % addresses.size()));
  }
  return 0;
}

// One waiting thread of a module, for the text and for the signature of a deadlock.
struct Narrator::Waiter {
  trace::ThreadNumber thread = 0;
  std::string routine;
  std::string functions;
  std::string function;
};

std::vector<Narrator::Waiter> Narrator::waiters(module::Symbolizer& symbolizer) const {
  std::vector<Waiter> waiters;
  for (const Wait& wait : waits_at_end(recorder_)) {
    const auto stack = blocked_stacks_.find(wait.thread);
    if (stack == blocked_stacks_.end()) {
      continue;
    }
    const auto frames = module_frames(symbolizer, images_, {stack->second.frames.data(), stack->second.count}, true);
    if (!frames.empty()) {
      waiters.push_back({wait.thread, std::string(wait.routine), functions_of(frames), frames.front().function});
    }
  }
  return waiters;
}

// Which threads of modules wait where. Their numbers and those of idle peers are left out of the signature: they differ
// between the schedules that show one deadlock.
void Narrator::describe_deadlock(module::Symbolizer& symbolizer, Report& report) const {
  std::vector<std::string> places;
  std::string who;
  for (const Waiter& waiter : waiters(symbolizer)) {
    who += fmt::format("{}t{} in {} called by {}", who.empty() ? ": " : ", ", waiter.thread,
                       waiter.routine.empty() ? "a wait" : waiter.routine, waiter.function);
    places.push_back(fmt::format("{}<{}", waiter.routine, waiter.functions));
  }
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  report.title = "every thread waits and nothing can wake one" + who;
  report.signature = fmt::format("{}:{}::{}", report.kind, report.rule, fmt::join(places, "+"));
}

void Narrator::describe_race(module::Symbolizer& symbolizer, Report& report) const {
  const auto address = reinterpret_cast<std::uintptr_t>(earlier_access_.pointer);
  std::string place = fmt::format("place {}", found_.event.status);
  if (found_.event.object != 0) {
    place = fmt::format("pool block {} at offset {}", found_.event.object, offset_in_block_);
  }
  for (const module::Image* const image : images_) {
    if (const std::string name = symbolizer.describe_data(*image, address); !name.empty()) {
      place = name;
    }
  }
  const RacingAccess later = {found_.event.thread, found_.event.irql, race::Shape::of(found_.event.a), nullptr,
                              found_.event_number};
  report.race = race_lines(recorder_, place, earlier_access_, later);
  report.place = place;
}

// One of two equal partners is the cause, as the schedule has it: both, in an order that does not depend on it.
bool Narrator::is_symmetric() const {
  return found_.kind == FindingKind::kDoubleFree || found_.kind == FindingKind::kDataRace || found_.rule == "R98";
}

Report Narrator::report() const {
  module::Symbolizer symbolizer;
  const auto frames = [&](const Stack& stack, bool innermost) {
    return module_frames(symbolizer, images_, {stack.frames.data(), stack.count}, innermost);
  };
  Report report;
  report.kind = contract::name_of(found_.kind);
  report.rule = found_.rule;
  report.stack = lines_of(frames(found_stack_, false));
  const bool finding_is_its_cause = found_.cause_number == found_.event_number && found_.kind != FindingKind::kDataRace;
  if (!finding_is_its_cause) {
    report.cause_stack = lines_of(frames(cause_stack_, false));
  }
  std::vector<Frame> found = frames(found_stack_, true);
  std::vector<Frame> cause = frames(cause_stack_, true);
  if (const std::uintptr_t callback = returned_callback(found_.event); callback != 0) {
    found = module_frames(symbolizer, images_, std::array{callback + 1}, true);
    if (finding_is_its_cause) {
      cause = found;
    }
    const std::vector<std::string> lines = lines_of(found);
    report.stack.insert(report.stack.begin(), lines.begin(), lines.end());
  }
  if (found_.kind == FindingKind::kDataRace) {
    describe_race(symbolizer, report);
  }
  if (found_.event.kind == EventKind::kDeadlock) {
    describe_deadlock(symbolizer, report);
  } else {
    const std::string where_found = found.empty() ? "" : found.front().function;
    report.title = found_.kind == FindingKind::kDataRace
                       ? fmt::format("{} is accessed by {} and {} with nothing that orders them", report.place,
                                     cause.empty() ? "the module" : cause.front().function,
                                     found.empty() ? "the module" : where_found)
                       : title_of(found_, cause_, where_found);
    std::string where = functions_of(cause);
    if (is_symmetric()) {
      const std::string other = functions_of(found);
      where = std::min(where, other) + "+" + std::max(where, other);
    }
    report.signature = fmt::format("{}:{}:{}:{}", report.kind, report.rule, routine_name(cause_), where);
  }
  const std::uint64_t first =
      std::max(recorder_.first(), found_.event_number > kEventsShown ? found_.event_number - kEventsShown : 0);
  for (std::uint64_t number = first; number <= found_.event_number; ++number) {
    report.events.push_back(line_of(recorder_.at(number), number));
  }
  return report;
}

}  // namespace nmrfuzz::fuzz
