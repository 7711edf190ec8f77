// records.h - what the registrar knows: registrations, bindings, NPIs, and the handles that name them.
//
// Records live in tables that never move them and are not reused within an execution, so a stale handle still says
// what it named. Numbers (table index + 1) name them in events.
#pragma once

#include <array>
#include <cstdint>

#include "kernel/object.h"
#include "kernel/status.h"
#include "nmr/registered_data.h"
#include "nmr/states.h"

namespace nmrfuzz::nmr {

using kernel::Status;
using trace::ModuleNumber;
using trace::ObjectNumber;
using trace::ThreadNumber;

struct Binding;

// The six callbacks as untyped pointers; calls.h knows their types.
struct Callbacks {
  void* attach = nullptr;
  void* detach = nullptr;
  void* cleanup = nullptr;
};

// What a module hands to Register, read from either kind of characteristics.
struct Characteristics {
  const void* structure = nullptr;
  const void* npi_id = nullptr;  // what the instance points to: has to live as long as the registration
  const void* module_id = nullptr;
  const void* instance = nullptr;  // NPI_REGISTRATION_INSTANCE in the structure: shown to the other side, not copied
  std::array<std::uint64_t, 2> npi{};  // the GUID's 16 bytes
  Callbacks callbacks;
  bool sizes_are_right = true;     // Version, Length and Size are those of the documentation
  const void* variable = nullptr;  // the module's handle variable; nullptr for one on a stack
};

struct Registration {
  ObjectNumber number = 0;
  Role role = Role::kClient;
  ModuleNumber module = 0;
  RegistrationState state = RegistrationState::kNone;
  Characteristics characteristics;
  void* context = nullptr;
  std::uint32_t npi = 0;                // index of its NPI
  Registration* next_of_npi = nullptr;  // the other registrations of the role with this NPI
  Registration* previous_of_npi = nullptr;
  Binding* first_binding = nullptr;  // bindings that are not gone, in order of creation
  Binding* last_binding = nullptr;
  std::uint32_t bindings = 0;                // how many
  std::uint32_t detached = 0;                // those that do not count any more: drain_point=after_detach_unsafe
  std::uint32_t calls = 0;                   // Register and Deregister calls still working on it
  bool error_injected = false;               // dereg_error=inject_once has struck
  bool closed_when_idle = false;             // by Deregister itself (dereg_status=success_when_idle)
  Binding* deferred_cleanups = nullptr;      // cleanup_where=at_wait: chain through Side::next_deferred
  bool takes_late_detaches = false;          // late_detach_thread=deregisterer: a Deregister call is at work
  Binding* late_detaches = nullptr;          // what is left to it: chain through Binding::next_late
  ObjectNumber wait_object = 0;              // what waiters block on
  const RegisteredData* content = nullptr;   // of what a module handed over, as it was then
  Registration* next_of_variable = nullptr;  // of those in one bucket
  std::array<ObjectNumber, 3> data{};        // records of the structure and of what it points to, while they are in use
};

// One side of a binding.
struct Side {
  Registration* registration = nullptr;
  void* context = nullptr;
  const void* dispatch = nullptr;
  ObjectNumber held_dispatch = 0;  // record of the table, while the other side may call through it
  DetachProgress progress = DetachProgress::kIdle;
  Binding* next = nullptr;  // in the registration's list
  Binding* previous = nullptr;
  Binding* next_deferred = nullptr;
};

struct Binding {
  ObjectNumber number = 0;
  BindingState state = BindingState::kOffered;
  std::array<Side, 2> sides;      // by Role
  ThreadNumber attacher = 0;      // on which the client's attach callback runs
  bool attach_attempted = false;  // NmrClientAttachProvider has failed before
  Status last_attach_status = 0;
  Role initiator = Role::kClient;  // whose deregistration started the detach
  bool provider_only = false;      // the client refused late: it is not called again
  ObjectNumber offer_done = 0;     // what a thread that waits for the offer's end blocks on
  bool offer_finished = false;
  Binding* next_late = nullptr;
  Binding* next_refused = nullptr;  // reoffer=on_new_registration: the refused pairs of an NPI

  Side& side(Role role) { return sides[index_of(role)]; }
  Registration& registration(Role role) { return *side(role).registration; }
};

// Handles are no addresses (outside the canonical range), differ by kind, are never NULL and never reused.
enum class HandleKind : std::uint8_t { kNone, kClient, kProvider, kBinding };

inline constexpr std::uint64_t kHandleTag = 0x00a1;

inline void* make_handle(HandleKind kind, ObjectNumber number) {
  return reinterpret_cast<void*>((kHandleTag << 48) | (static_cast<std::uint64_t>(kind) << 40) |
                                 (static_cast<std::uint64_t>(number) << 4));
}
inline HandleKind kind_of_handle(const void* handle) {
  const auto bits = reinterpret_cast<std::uint64_t>(handle);
  const std::uint64_t kind = (bits >> 40) & 0xff;
  return bits >> 48 == kHandleTag && kind <= 3 && (bits & 0xf) == 0 ? static_cast<HandleKind>(kind) : HandleKind::kNone;
}
inline ObjectNumber number_of_handle(const void* handle) {
  return static_cast<ObjectNumber>((reinterpret_cast<std::uint64_t>(handle) >> 4) & 0xffffffff);
}
// What world fail_out=poison leaves in the output of a failed Register.
inline void* const kPoisonedHandle = make_handle(HandleKind::kNone, 0xdead);
inline HandleKind handle_kind(Role role) { return role == Role::kClient ? HandleKind::kClient : HandleKind::kProvider; }

}  // namespace nmrfuzz::nmr
