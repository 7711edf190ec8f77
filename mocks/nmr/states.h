// states.h - the states of registrations, bindings and detaches, and what one step may turn into what.
//
// Source: the life cycle that the NMR pages describe (network-module-attachment, network-module-detachment); the names
// are those of contract sections 3.2 and 3.3. The values appear in events and so in the trace hash: append only.
#pragma once

#include <array>
#include <cstdint>

namespace nmrfuzz::nmr {

enum class Role : std::uint8_t { kClient, kProvider };
inline constexpr Role opposite(Role role) { return role == Role::kClient ? Role::kProvider : Role::kClient; }
inline constexpr std::size_t index_of(Role role) { return static_cast<std::size_t>(role); }

// One per Register call.
enum class RegistrationState : std::uint8_t {
  kNone,           // Register failed, or was never called
  kRegistering,    // visible to pairing; Register has not returned
  kActive,         // Register returned STATUS_SUCCESS
  kDeregistering,  // Deregister was entered: no new offers
  kDrained,        // nothing is left of any binding
  kClosed,         // the wait returned: the handle is dead
};

// One per pair of a client and a provider registration of one NPI.
enum class BindingState : std::uint8_t {
  kOffered,      // the client's attach callback is running
  kNegotiating,  // the provider's attach callback is running, nested in it
  kAccepted,     // the provider said yes; the client's callback is still running
  kAttached,     // both live
  kDetaching,    // each side has its own DetachProgress
  kDetached,     // both sides done: both cleanups are owed
  kCleaning,     // cleanup callbacks run
  kGone,         // the handle is dead
};

// What one side of a binding in kDetaching is up to.
enum class DetachProgress : std::uint8_t {
  kIdle,              // its detach callback has not been entered
  kCalling,           // its detach callback is running
  kCallingCompleted,  // still running, and the detach has been completed meanwhile
  kPending,           // it returned STATUS_PENDING
  kDone,
  kCompletedEarly,  // completed before the callback was entered (world early_complete=remember)
};

// The six callbacks.
enum class Callback : std::uint8_t {
  kClientAttachProvider,
  kClientDetachProvider,
  kClientCleanupBindingContext,
  kProviderAttachClient,
  kProviderDetachClient,
  kProviderCleanupBindingContext,
};

// What a handle that was given to a call turned out to be.
enum class HandleState : std::uint8_t {
  kValid,  // live, of the right kind, of the calling module, in a state that allows the call
  kNull,
  kUnknown,     // never a handle of this registrar
  kWrongKind,   // of the other role, or a binding handle where a registration handle is due, or the reverse
  kForeign,     // another module's
  kStale,       // dead: its registration was closed, its binding is gone
  kWrongState,  // live, but the call is not allowed now
};

// --- What may follow what ---------------------------------------------------------------------------------------
// Row: from; column: to. Everything that is not listed is a fault of the registrar.

inline constexpr std::size_t kRegistrationStates = 6;
inline constexpr std::array<std::array<bool, kRegistrationStates>, kRegistrationStates> kRegistrationMoves = {{
    // none   registering active deregistering drained closed
    {false, true, false, false, false, false},   // none
    {false, false, true, true, false, false},    // registering: deregistering when the handle was known already
    {false, false, false, true, false, false},   // active
    {false, false, false, false, true, false},   // deregistering
    {false, false, false, false, false, true},   // drained
    {false, false, false, false, false, false},  // closed
}};

inline constexpr std::size_t kBindingStates = 8;
inline constexpr std::array<std::array<bool, kBindingStates>, kBindingStates> kBindingMoves = {{
    // offered negotiating accepted attached detaching detached cleaning gone
    {false, true, false, false, false, false, false, true},  // offered: gone when declined
    {true, false, true, false, false, false, false, false},  // negotiating: offered when the provider declined
    {false, false, false, true, true, false, false,
     false},  // accepted: detaching at once when marked late, or refused late
    {false, false, false, false, true, false, false, false},   // attached
    {false, false, false, false, false, true, false, false},   // detaching
    {false, false, false, false, false, false, true, false},   // detached
    {false, false, false, false, false, false, false, true},   // cleaning
    {false, false, false, false, false, false, false, false},  // gone
}};

inline constexpr std::size_t kDetachProgresses = 6;
inline constexpr std::array<std::array<bool, kDetachProgresses>, kDetachProgresses> kDetachMoves = {{
    // idle  calling calling+completed pending done completed-early
    {false, true, false, false, false, true},    // idle
    {false, false, true, true, true, false},     // calling
    {false, false, false, false, true, false},   // calling and completed: done when the callback returns
    {false, false, false, false, true, false},   // pending
    {false, false, false, false, false, false},  // done
    {false, false, true, false, false, false},   // completed early: its callback starts as calling and completed
}};

inline constexpr bool may_move(RegistrationState from, RegistrationState to) {
  return kRegistrationMoves[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
}
inline constexpr bool may_move(BindingState from, BindingState to) {
  return kBindingMoves[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
}
inline constexpr bool may_move(DetachProgress from, DetachProgress to) {
  return kDetachMoves[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
}

}  // namespace nmrfuzz::nmr
