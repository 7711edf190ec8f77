#include "fuzz/waits.h"

#include <map>

#include "fuzz/event_text.h"

namespace nmrfuzz::fuzz {

using trace::Event;
using trace::EventKind;
using trace::ObjectNumber;

namespace {

// What a thread is in the middle of.
struct Doing {
  struct Entered {
    std::string_view routine;
    bool is_callback = false;
  };
  std::vector<Entered> entered;  // calls of the registrar and its callbacks that have not returned
  std::string_view call;         // the last routine since, and its object
  ObjectNumber object = 0;
  bool waits = false;
  ObjectNumber waits_for = 0;
};

class Reader {
 public:
  void read(const Event& event) {
    Doing& doing = threads_[event.thread];
    if (event.kind != EventKind::kDeadlock) {  // written in the name of whoever ran last
      doing.waits = event.kind == EventKind::kBlock;
    }
    switch (event.kind) {
      case EventKind::kThreadStart:
        threads_[static_cast<trace::ThreadNumber>(event.object)] = {};
        break;
      case EventKind::kBlock:
        doing.waits_for = event.object;
        break;
      case EventKind::kCall:
        doing.call = routine_name(event);
        doing.object = event.object;
        last_call_on_[event.object] = doing.call;
        break;
      case EventKind::kRegisterEnter:
      case EventKind::kDeregisterEnter:
      case EventKind::kWaitEnter:
      case EventKind::kAttachCallEnter:
      case EventKind::kCallbackEnter:
        doing.entered.push_back({routine_name(event), event.kind == EventKind::kCallbackEnter});
        doing.call = {};
        break;
      case EventKind::kRegisterExit:
      case EventKind::kDeregisterExit:
      case EventKind::kWaitExit:
      case EventKind::kAttachCallExit:
      case EventKind::kCallbackExit:
        if (!doing.entered.empty()) {  // its beginning may have left the ring
          doing.entered.pop_back();
        }
        doing.call = {};
        break;
      default:
        break;
    }
  }

  std::vector<Wait> waits() const {
    std::vector<Wait> waits;
    for (const auto& [thread, doing] : threads_) {
      if (doing.waits) {
        waits.push_back({thread, routine_of(doing)});
      }
    }
    return waits;
  }

 private:
  // Waits for dispatcher objects are calls already. The registrar waits inside its own calls. A lock's call is written
  // when it has been taken, so the name is that under which its holder took it.
  std::string_view routine_of(const Doing& doing) const {
    if (!doing.call.empty() && doing.object == doing.waits_for) {
      return doing.call;
    }
    if (doing.call.empty() && !doing.entered.empty() && !doing.entered.back().is_callback) {
      return doing.entered.back().routine;
    }
    const auto last = last_call_on_.find(doing.waits_for);
    return doing.waits_for == 0 || last == last_call_on_.end() ? std::string_view() : last->second;
  }

  std::map<trace::ThreadNumber, Doing> threads_;
  std::map<ObjectNumber, std::string_view> last_call_on_;
};

}  // namespace

std::vector<Wait> waits_at_end(const trace::Recorder& recorder) {
  Reader reader;
  for (std::uint64_t number = recorder.first(); number < recorder.size(); ++number) {
    reader.read(recorder.at(number));
  }
  return reader.waits();
}

}  // namespace nmrfuzz::fuzz
