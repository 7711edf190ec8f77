// finding.h - the closed list of what can be wrong with a module, and one finding as plain data.
//
// Exit status, JSON, reports and text all derive from this one enum. A finding is made in the hot loop, so it is plain
// data; its title, stacks and signature are made when the execution is repeated for the report (fuzz/report).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "trace/event.h"
#include "trace/hash.h"

namespace nmrfuzz::contract {

enum class FindingKind : std::uint8_t {
  kUnloadRegistered,
  kUnloadPending,
  kUnloadRunning,
  kBadHandle,
  kBadCall,
  kBadStatus,
  kUseAfterDetach,
  kUseAfterFree,
  kDoubleFree,
  kBufferOverflow,
  kNullDereference,
  kWildAccess,
  kUninitializedUse,
  kMemoryLeak,
  kResourceLeak,
  kIrql,
  kLockMisuse,
  kDeadlock,
  kLivelock,
  kDataRace,
  kUndefinedBehavior,
  kBugCheck,
  kCharacteristicsChanged,
  kHarnessFault,  // the product's own errors: never a module's
  kCount
};

inline constexpr std::size_t kFindingKinds = static_cast<std::size_t>(FindingKind::kCount);

// "unload-pending" and so on; what JSON and reproducers say.
std::string_view name_of(FindingKind kind);
// The kind of that name.
std::optional<FindingKind> kind_of_name(std::string_view name);
// What happened, in one sentence for people.
std::string_view sentence_of(FindingKind kind);

struct Finding {
  FindingKind kind = FindingKind::kHarnessFault;
  std::string_view rule;  // "R91"; empty for memory errors and others without a rule. Static storage.
  trace::Event event;     // where it was found
  std::uint64_t event_number = 0;
  // The event whose stack is the cause: the allocation for a leak, the free for a use after it; else event_number.
  std::uint64_t cause_number = 0;
  trace::TraceHash hash = 0;  // over the events up to and with event_number
};

// Receives findings. The first one of an execution is its verdict: report() does not return then.
class FindingSink {
 public:
  virtual ~FindingSink() = default;
  virtual void report(Finding finding) = 0;
  // A breach of a soft rule, or a lawful oddity: never ends an execution, unless the user wants notes to be findings.
  virtual void note(Finding) {}
};

}  // namespace nmrfuzz::contract
