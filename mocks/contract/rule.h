// rule.h - what the rule families have in common: they read events and report findings; nothing else.
//
// A family keeps what it has to remember of the stream in its own tables, which grow to the size of the largest
// execution and are then kept. It never looks into the mocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "contract/blunt.h"
#include "contract/finding.h"
#include "trace/recorder.h"

namespace nmrfuzz::contract {

// The element of a family's table, which grows as far as needed.
template <class Element>
Element& grown(std::vector<Element>& table, std::size_t index) {
  if (table.size() <= index) {
    table.resize(index + 1);
  }
  return table[index];
}

class RuleFamily : public trace::Observer {
 public:
  // `recorder` and `sink` must outlive the family, which subscribes to the kinds that it reads.
  RuleFamily(trace::Recorder& recorder, FindingSink& sink) : recorder_(recorder), sink_(sink) {}

  // A new execution begins.
  virtual void reset() = 0;

 protected:
  // Reports what `event`, the newest one, shows. Does not return when it is the verdict of the execution.
  void report(FindingKind kind, std::string_view rule, const trace::Event& event) {
    report(kind, rule, event, recorder_.size() - 1);
  }
  // As above, caused by the event with number `cause`.
  void report(FindingKind kind, std::string_view rule, const trace::Event& event, std::uint64_t cause) {
    if (!is_blunt(rule)) {
      sink_.report(made(kind, rule, event, cause));
    }
  }
  // What `event` shows is no more than worth a note. `rule`: a soft rule, or a silent point ("A16").
  void note(FindingKind kind, std::string_view rule, const trace::Event& event) {
    sink_.note(made(kind, rule, event, current_number()));
  }
  // The number of the event that is being observed.
  std::uint64_t current_number() const { return recorder_.size() - 1; }
  trace::Recorder& recorder() { return recorder_; }

 private:
  Finding made(FindingKind kind, std::string_view rule, const trace::Event& event, std::uint64_t cause) const {
    Finding finding;
    finding.kind = kind;
    finding.rule = rule;
    finding.event = event;
    finding.event_number = recorder_.size() - 1;
    finding.cause_number = cause;
    finding.hash = recorder_.hash();
    return finding;
  }

  trace::Recorder& recorder_;
  FindingSink& sink_;
};

}  // namespace nmrfuzz::contract
