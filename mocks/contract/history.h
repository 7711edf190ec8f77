// history.h - what rules look up in the stream once something is wrong: nothing has to be kept for it meanwhile.
//
// Looks at the events that the ring still holds, which is all of them in any but the longest executions. Takes as long
// as a walk through the ring: for findings and for rare events only.
#pragma once

#include <cstdint>
#include <optional>

#include "kernel/routine.h"
#include "nmr/states.h"
#include "trace/recorder.h"

namespace nmrfuzz::contract {

// Whether the routine is there to wait: for an object, for references to go, for time to pass.
bool waits(kernel::Routine routine);

// A call or callback of NMR that a thread has entered and not left.
struct Frame {
  trace::Event event;  // its beginning
  std::uint64_t number = 0;

  bool is_callback() const { return event.kind == trace::EventKind::kCallbackEnter; }
  nmr::Callback callback() const { return static_cast<nmr::Callback>(event.a); }
  bool is_attach() const {
    return is_callback() &&
           (callback() == nmr::Callback::kClientAttachProvider || callback() == nmr::Callback::kProviderAttachClient);
  }
  bool is_detach() const {
    return is_callback() &&
           (callback() == nmr::Callback::kClientDetachProvider || callback() == nmr::Callback::kProviderDetachClient);
  }
  bool is_cleanup() const { return is_callback() && !is_attach() && !is_detach(); }
};

class History {
 public:
  explicit History(const trace::Recorder& recorder) : recorder_(recorder) {}

  // The latest event for which wanted(event) holds; 0 if there is none.
  template <class Wanted>
  std::uint64_t last(Wanted wanted) const {
    for (std::uint64_t number = recorder_.size(); number-- > recorder_.first();) {
      if (wanted(recorder_.at(number))) {
        return number;
      }
    }
    return 0;
  }
  template <class Wanted>
  bool any(Wanted wanted) const {
    return last(wanted) != 0;
  }
  const trace::Event& at(std::uint64_t number) const { return recorder_.at(number); }

  // The innermost call or callback of NMR that `thread` is in; `below`: only those entered before that event.
  std::optional<Frame> innermost(trace::ThreadNumber thread, std::uint64_t below) const;
  std::optional<Frame> innermost(trace::ThreadNumber thread) const { return innermost(thread, recorder_.size()); }
  // The same for callbacks of modules under test alone.
  std::optional<Frame> innermost_callback(trace::ThreadNumber thread) const;

  // The registration on that side of a binding; 0 if the ring does not know.
  trace::ObjectNumber registration_of(trace::ObjectNumber binding, nmr::Role role) const;
  // Whether its deregistration has begun.
  bool is_deregistered(trace::ObjectNumber registration) const;

 private:
  const trace::Recorder& recorder_;
};

}  // namespace nmrfuzz::contract
