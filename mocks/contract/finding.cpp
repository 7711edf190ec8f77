#include "contract/finding.h"

#include <array>

namespace nmrfuzz::contract {

namespace {

struct Row {
  std::string_view name;
  std::string_view sentence;
};

constexpr std::array<Row, kFindingKinds> kRows = {{
    {"unload-registered", "The module was unloaded while a registration had never been deregistered."},
    {"unload-pending", "The module was unloaded while a deregistration had begun and was not complete."},
    {"unload-running", "Code of the module was queued or running after its Unload function had returned."},
    {"bad-handle", "A call was given a handle that is stale, NULL, of another kind or another module's."},
    {"bad-call", "A call was made that the state of its object forbids."},
    {"bad-status", "A callback returned a status that its contract forbids, or left an output unset."},
    {"use-after-detach", "The other side of a binding was used after the binding had been detached."},
    {"use-after-free", "Memory was used after it had been freed."},
    {"double-free", "Memory was freed twice."},
    {"buffer-overflow", "Memory outside an allocation was touched."},
    {"null-dereference", "Memory at or near NULL was touched."},
    {"wild-access", "Memory was touched that belongs to nobody."},
    {"uninitialized-use", "A value was used that was never set."},
    {"memory-leak", "Pool memory was still allocated after unload."},
    {"resource-leak", "A kernel resource was still held after unload."},
    {"irql", "A routine was called, or a callback returned, at an IRQL that is not allowed."},
    {"lock-misuse", "A lock was used against its protocol."},
    {"deadlock", "Every thread waits, and nothing can wake one."},
    {"livelock", "Threads ran on without any progress until the step limit."},
    {"data-race", "Two conflicting accesses had no order between them."},
    {"undefined-behavior", "The module's code has undefined behaviour."},
    {"bug-check", "The module called a bug check, or an assertion of its own failed."},
    {"characteristics-changed", "Data that were handed to NMR changed or went away while in use."},
    {"harness-fault", "nmrfuzz itself failed."},
}};

}  // namespace

std::string_view name_of(FindingKind kind) { return kRows[static_cast<std::size_t>(kind)].name; }

std::string_view sentence_of(FindingKind kind) { return kRows[static_cast<std::size_t>(kind)].sentence; }

std::optional<FindingKind> kind_of_name(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) {
      return static_cast<FindingKind>(i);
    }
  }
  return std::nullopt;
}

}  // namespace nmrfuzz::contract
