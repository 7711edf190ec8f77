// reference_model_lives_test.cpp - lawful lives, each written by hand from the contract: the model accepts them all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "nmr/reference_model_lives.h"

namespace nmrfuzz::nmr::lives {
namespace {

using testing::IsEmpty;
using B = BindingState;
using D = DetachProgress;
using R = RegistrationState;

constexpr Role C = Role::kClient;
constexpr Role P = Role::kProvider;
constexpr auto kClientAttach = Callback::kClientAttachProvider;
constexpr auto kProviderAttach = Callback::kProviderAttachClient;
constexpr auto kInvalid = kernel::kStatusInvalidParameter;

// Provider 1, then client 2, attached as binding 1.
Stream& bound(Stream& s) { return s.registers(P, 1).registers_and_binds(C, 2, 1, 2, 1); }

// The same, and client 2 has begun to leave: both callbacks are due.
Stream& client_leaving(Stream& s) { return bound(s).deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching}); }

// What follows when binding 1 is through and client 2 has been told so.
Stream& both_gone(Stream& s) { return s.drains(2).deregister_exit(2).wait_enter(C, 2, 0).wait_ends(2).leaves(P, 1); }

void simple(Stream& s) { both_gone(client_leaving(s).detaches(C, 1).detaches(P, 1).cleanups(1)); }

void provider_first_to_leave(Stream& s) {
  s.registers(C, 2).registers_and_binds(P, 1, 1, 2, 1);
  s.deregisters(P, 1).moves(1, {B::kAttached, B::kDetaching}).detaches(C, 1).detaches(P, 1).cleanups(1).drains(1);
  s.deregister_exit(1).wait_enter(P, 1, 0).wait_ends(1).leaves(C, 2);
}

void pending(Stream& s) {
  client_leaving(s).detaches(C, 1, kPends).detaches(P, 1, kPends).deregister_exit(2).wait_enter(C, 2, 1);
  s.on(2).completes(P, 1).completes(C, 1).cleanups(1).drains(2);
  s.on(1).wait_ends(2).leaves(P, 1);
}

void completed_inside(Stream& s) {
  client_leaving(s).detach_starts(C, 1).complete(C, 1, D::kCalling).moves(C, 1, {D::kCalling, D::kCallingCompleted});
  s.exit(Callback::kClientDetachProvider, 1, kPends).moves(C, 1, {D::kCallingCompleted, D::kDone});
  both_gone(s.detaches(P, 1).cleanups(1));
}

void completion_overtakes_return(Stream& s) {
  client_leaving(s).detach_starts(C, 1).exit(Callback::kClientDetachProvider, 1, kPends);
  s.on(2).complete(C, 1, D::kCalling).moves(C, 1, {D::kCalling, D::kCallingCompleted});
  s.on(1).moves(C, 1, {D::kCallingCompleted, D::kDone});
  both_gone(s.detaches(P, 1).cleanups(1));
}

void completed_early(Stream& s) {
  bound(s).on(2).complete(P, 1, D::kIdle).moves(P, 1, {D::kIdle, D::kCompletedEarly});
  s.on(1).deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching}).detaches(C, 1);
  s.moves(P, 1, {D::kCompletedEarly, D::kCallingCompleted}).enter(Callback::kProviderDetachClient, 1, 201);
  s.exit(Callback::kProviderDetachClient, 1, kPends).moves(P, 1, {D::kCallingCompleted, D::kDone});
  both_gone(s.cleanups(1));
}

// The provider accepts, and by another thread is through with it before the client has heard of it.
void completed_during_attach(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.attach_call_enter(1, 101).moves(1, {B::kOffered, B::kNegotiating});
  s.enter(kProviderAttach, 1, 11).exit(kProviderAttach, 1).moves(1, {B::kNegotiating, B::kAccepted});
  s.on(2).complete(P, 1, D::kIdle).moves(P, 1, {D::kIdle, D::kCompletedEarly});
  s.on(1).attach_call_exit(1).exit(kClientAttach, 1).moves(1, {B::kAccepted, B::kAttached});
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2);
}

// By claim the callback is running, but its entry has not been seen yet: not early.
void completed_as_callback_starts(Stream& s) {
  client_leaving(s).moves(C, 1, {D::kIdle, D::kCalling});
  s.on(2).complete(C, 1, D::kCalling).moves(C, 1, {D::kCalling, D::kCallingCompleted});
  s.on(1).enter(Callback::kClientDetachProvider, 1, 101).exit(Callback::kClientDetachProvider, 1, kPends);
  s.moves(C, 1, {D::kCallingCompleted, D::kDone});
  both_gone(s.detaches(P, 1).cleanups(1));
}

void completed_too_early(Stream& s) {
  bound(s).complete(P, 1, D::kIdle, HandleState::kWrongState);
  s.deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching});
  both_gone(s.detaches(C, 1).detaches(P, 1).cleanups(1));
}

void overlapping_detaches(Stream& s) {
  client_leaving(s).on(2).detach_starts(P, 1).on(3).detach_starts(C, 1);
  s.on(1).deregister_exit(2).wait_enter(C, 2, 1);
  s.on(2).detach_ends(P, 1, kOk).on(3).detach_ends(C, 1, kOk);
  s.moves(1, {B::kDetaching, B::kDetached, B::kCleaning}).on(3).cleans(P, 1).cleans(C, 1);
  s.moves(1, {B::kCleaning, B::kGone}).drains(2).on(1).wait_ends(2).leaves(P, 1);
}

// Deregister meets an attach that the provider has accepted already.
void late_bind(Stream& s) {
  s.registers(P, 1).on(2).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering});
  s.asks_client(1, 2, 1).asks_provider(1, 1, kOk);
  s.on(1).deregisters(P, 1).deregister_exit(1).wait_enter(P, 1, 1);
  s.on(2).exit(kClientAttach, 1).moves(1, {B::kAccepted, B::kDetaching});
  s.detaches(P, 1).detaches(C, 1).cleanups(1).drains(1);
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.on(1).wait_ends(1).leaves(C, 2);
}

void late_and_refused(Stream& s) {
  s.registers(P, 1).on(2).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.on(1).deregisters(P, 1).deregister_exit(1).wait_enter(P, 1, 1);
  s.on(2).attach_call_enter(1, 101).attach_call_exit(1, kDeclines).exit(kClientAttach, 1, kDeclines);
  s.moves(1, {B::kOffered, B::kGone}).drains(1).moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.on(1).wait_ends(1).leaves(C, 2);
}

// The offer was in the making on a worker when the client left: its callback must not start any more.
void offer_withdrawn(Stream& s) {
  s.registers(P, 1).registers(C, 2).on(2).offer(1, 2, 1);
  s.on(1).deregisters(C, 2).deregister_exit(2).wait_enter(C, 2, 1);
  s.on(2).moves(1, {B::kOffered, B::kGone}).drains(2).on(1).wait_ends(2).leaves(P, 1);
}

void both_leave(Stream& s) {
  bound(s).on(1).deregisters(C, 2).on(2).deregisters(P, 1).on(1).moves(1, {B::kAttached, B::kDetaching});
  s.detach_starts(C, 1).on(2).deregister_exit(1).wait_enter(P, 1, 1);
  s.on(1).detach_ends(C, 1, kOk).detaches(P, 1).cleanups(1).drains(2).drains(1).deregister_exit(2);
  s.on(2).wait_ends(1).on(1).wait_enter(C, 2, 0).wait_ends(2);
}

void client_declines(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.exit(kClientAttach, 1, kDeclines).moves(1, {B::kOffered, B::kGone});
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2).leaves(C, 2).leaves(P, 1);
}

Stream& provider_declined(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.asks_provider(1, 1, kDeclines).exit(kClientAttach, 1, kDeclines).moves(1, {B::kOffered, B::kGone});
  return s.moves(2, {R::kRegistering, R::kActive}).register_exit(2);
}

void provider_declines(Stream& s) { provider_declined(s).leaves(C, 2).leaves(P, 1); }

void offered_again(Stream& s) {
  provider_declined(s).registers(P, 3, 2).on(2).attach(2, 2, 1).on(1).leaves(P, 3);
  s.deregisters(C, 2).moves(2, {B::kAttached, B::kDetaching}).detaches(C, 2).detaches(P, 2).cleanups(2);
  both_gone(s);
}

// The pair is offered again while another registration of the NPI arrives.
void offered_on_arrival(Stream& s) {
  provider_declined(s).register_enter(C, 3).moves(3, {R::kNone, R::kRegistering});
  s.asks_client(2, 3, 1).asks_provider(2, 1, kDeclines).exit(kClientAttach, 2, kDeclines);
  s.moves(2, {B::kOffered, B::kGone}).asks_client(3, 2, 1).asks_provider(3, 1, kDeclines);
  s.exit(kClientAttach, 3, kDeclines).moves(3, {B::kOffered, B::kGone});
  s.moves(3, {R::kRegistering, R::kActive}).register_exit(3).leaves(C, 3).leaves(C, 2).leaves(P, 1);
}

void retry_after_refusal(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.asks_provider(1, 1, kDeclines).asks_provider(1, 1, kOk);
  s.exit(kClientAttach, 1).moves(1, {B::kAccepted, B::kAttached});
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching});
  both_gone(s.detaches(C, 1).detaches(P, 1).cleanups(1));
}

void retry_not_allowed(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.asks_provider(1, 1, kDeclines).attach_call_enter(1, 101, HandleState::kWrongState).attach_call_exit(1, kInvalid);
  s.exit(kClientAttach, 1, kDeclines).moves(1, {B::kOffered, B::kGone});
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2).leaves(C, 2).leaves(P, 1);
}

void success_without_provider(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.exit(kClientAttach, 1, kOk).moves(1, {B::kOffered, B::kGone});
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2).leaves(C, 2).leaves(P, 1);
}

void register_fails(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).register_exit(2, kernel::kStatusInsufficientResources, 1);
  s.register_enter(C, 3).register_exit(3, kInvalid).leaves(P, 1);
}

void other_npi(Stream& s) { s.registers(P, 1, 1).registers(C, 2, 2).leaves(C, 2).leaves(P, 1); }

void peer_left_before(Stream& s) { s.registers(P, 1).leaves(P, 1).registers(C, 2).leaves(C, 2); }

void deregistered_in_own_attach(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.deregister_enter(C, 2).moves(2, {R::kRegistering, R::kDeregistering}).deregister_exit(2);
  s.exit(kClientAttach, 1, kDeclines).moves(1, {B::kOffered, B::kGone}).drains(2).register_exit(2);
  s.wait_enter(C, 2, 0).wait_ends(2).leaves(P, 1);
}

// Clients 2 and 3, the first of which leaves while the second stays.
void two_clients(Stream& s) {
  bound(s).registers_and_binds(C, 3, 2, 3, 1);
  s.deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching}).detaches(C, 1).detaches(P, 1).cleanups(1).drains(2);
  s.deregister_exit(2).wait_enter(C, 2, 0).wait_ends(2);
  s.deregisters(P, 1).moves(2, {B::kAttached, B::kDetaching}).detaches(P, 2).detaches(C, 2).cleanups(2).drains(1);
  s.deregister_exit(1).wait_enter(P, 1, 0).wait_ends(1).leaves(C, 3);
}

// Two that register at the same moment are offered once, by either (X1).
void register_at_once(Stream& s) {
  s.on(1).register_enter(P, 1).on(2).register_enter(C, 2);
  s.on(1).moves(1, {R::kNone, R::kRegistering}).on(2).moves(2, {R::kNone, R::kRegistering});
  s.on(1).moves(1, {R::kRegistering, R::kActive}).register_exit(1);
  s.on(2).attach(1, 2, 1).moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.on(1).deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching});
  both_gone(s.detaches(C, 1).detaches(P, 1).cleanups(1));
}

void attach_on_worker(Stream& s) {
  s.registers(P, 1).registers(C, 2).on(2).attach(1, 2, 1);
  s.on(1).deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching});
  both_gone(s.detaches(C, 1).detaches(P, 1).cleanups(1));
}

void no_cleanup_callbacks(Stream& s) {
  s.register_enter(P, 1, 1, false).moves(1, {R::kNone, R::kRegistering, R::kActive}).register_exit(1);
  s.register_enter(C, 2, 1, false).moves(2, {R::kNone, R::kRegistering}).attach(1, 2, 1);
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching}).detaches(C, 1).detaches(P, 1);
  both_gone(s.moves(1, {B::kDetaching, B::kDetached, B::kCleaning, B::kGone}));
}

// The client's binding context is NULL.
Stream& null_context_leaving(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  s.attach_call_enter(1, 0).moves(1, {B::kOffered, B::kNegotiating});
  s.enter(kProviderAttach, 1, 11).exit(kProviderAttach, 1).moves(1, {B::kNegotiating, B::kAccepted});
  s.attach_call_exit(1).exit(kClientAttach, 1).moves(1, {B::kAccepted, B::kAttached});
  s.moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.deregisters(C, 2).moves(1, {B::kAttached, B::kDetaching}).detach_starts(C, 1, 0).detach_ends(C, 1, kOk);
  return s.detaches(P, 1).moves(1, {B::kDetaching, B::kDetached, B::kCleaning});
}

void null_context(Stream& s) {
  null_context_leaving(s).enter(Callback::kClientCleanupBindingContext, 1, 0);
  s.exit(Callback::kClientCleanupBindingContext, 1).cleans(P, 1);
  both_gone(s.moves(1, {B::kCleaning, B::kGone}));
}

void null_context_skipped(Stream& s) {
  both_gone(null_context_leaving(s).cleans(P, 1).moves(1, {B::kCleaning, B::kGone}));
}

// The client refuses after its provider accepted (R39).
Stream& refused_late(Stream& s) {
  s.registers(P, 1).register_enter(C, 2).moves(2, {R::kNone, R::kRegistering}).asks_client(1, 2, 1);
  return s.asks_provider(1, 1, kOk).exit(kClientAttach, 1, kDeclines).moves(1, {B::kAccepted, B::kDetaching});
}

void late_refusal_detaches_provider(Stream& s) {
  refused_late(s).detaches(P, 1).moves(1, {B::kDetaching, B::kDetached, B::kCleaning}).cleans(P, 1);
  s.moves(1, {B::kCleaning, B::kGone}).moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.leaves(C, 2).leaves(P, 1);
}

void late_refusal_cleans_up_only(Stream& s) {
  refused_late(s).moves(1, {B::kDetaching, B::kDetached, B::kCleaning}).cleans(P, 1);
  s.moves(1, {B::kCleaning, B::kGone}).moves(2, {R::kRegistering, R::kActive}).register_exit(2);
  s.leaves(C, 2).leaves(P, 1);
}

// A status that no detach callback may return (R65), taken as done or as pending.
void bad_detach_status_is_done(Stream& s) {
  client_leaving(s).detach_starts(C, 1).detach_ends(C, 1, kInvalid);
  both_gone(s.detaches(P, 1).cleanups(1));
}

void bad_detach_status_pends(Stream& s) {
  client_leaving(s).detach_starts(C, 1).exit(Callback::kClientDetachProvider, 1, kInvalid);
  s.moves(C, 1, {D::kCalling, D::kPending}).completes(C, 1);
  both_gone(s.detaches(P, 1).cleanups(1));
}

void success_when_idle(Stream& s) {
  s.registers(P, 1).deregisters(P, 1).drains(1).moves(1, {R::kDrained, R::kClosed}).deregister_exit(1, kOk);
  s.wait_enter(P, 1, 0, HandleState::kStale).wait_exit(1, kOk);
}

void deregister_fails_once(Stream& s) {
  s.registers(P, 1).deregister_enter(P, 1).deregister_exit(1, kernel::kStatusInsufficientResources).leaves(P, 1);
}

void bad_handles(Stream& s) {
  s.registers(P, 1).deregister_enter(P, 0, HandleState::kUnknown).deregister_exit(0, kInvalid);
  s.wait_enter(P, 1, 0, HandleState::kWrongState).wait_exit(1, kInvalid);
  s.deregister_enter(C, 1, HandleState::kWrongKind).deregister_exit(1, kInvalid).deregisters(P, 1).drains(1);
  s.deregister_exit(1).deregister_enter(P, 1, HandleState::kWrongState).deregister_exit(1, kInvalid);
  s.wait_enter(P, 1, 0).wait_ends(1).wait_enter(P, 1, 0, HandleState::kStale).wait_exit(1, kInvalid);
  s.attach_call_enter(0, 7, HandleState::kNull).attach_call_exit(0, kInvalid);
}

void deregisters_race(Stream& s) {
  s.registers(P, 1).on(2).deregister_enter(P, 1).on(1).deregisters(P, 1).drains(1).deregister_exit(1);
  s.on(2).deregister_exit(1, kInvalid).on(1).wait_enter(P, 1, 0).wait_ends(1);
}

void two_waiters(Stream& s) {
  client_leaving(s).detaches(C, 1).detaches(P, 1, kPends).deregister_exit(2).wait_enter(C, 2, 1);
  s.on(2).wait_enter(C, 2, 1).on(3).completes(P, 1).cleanups(1).drains(2);
  s.on(1).wait_ends(2).on(2).wait_exit(2).on(1).leaves(P, 1);
}

void second_wait(Stream& s) {
  s.registers(P, 1).leaves(P, 1).wait_enter(P, 1, 0, HandleState::kStale).wait_exit(1, kOk);
}

void second_wait_taken_as_good(Stream& s) { s.registers(P, 1).leaves(P, 1).wait_enter(P, 1, 0).wait_exit(1); }

void wait_taken_as_good_when_idle(Stream& s) {
  s.registers(P, 1).deregisters(P, 1).drains(1).moves(1, {R::kDrained, R::kClosed}).deregister_exit(1, kOk);
  s.wait_enter(P, 1, 0).wait_exit(1);
}

void wait_overtakes_deregister(Stream& s) {
  s.registers(P, 1).deregisters(P, 1).drains(1).on(2).wait_enter(P, 1, 0).wait_ends(1).on(1).deregister_exit(1);
}

void cleanup_in_wait(Stream& s) {
  client_leaving(s).detaches(C, 1).detaches(P, 1).moves(1, {B::kDetaching, B::kDetached}).deregister_exit(2);
  s.wait_enter(C, 2, 1).moves(1, {B::kDetached, B::kCleaning}).cleans(C, 1).cleans(P, 1);
  s.moves(1, {B::kCleaning, B::kGone}).drains(2).wait_ends(2).leaves(P, 1);
}

void cleanup_never_asked_for(Stream& s) {
  client_leaving(s).detaches(C, 1).detaches(P, 1).moves(1, {B::kDetaching, B::kDetached}).deregister_exit(2);
}

void drained_before_cleanup(Stream& s) {
  client_leaving(s).detaches(C, 1).detaches(P, 1).moves(1, {B::kDetaching, B::kDetached}).drains(2).deregister_exit(2);
  s.wait_enter(C, 2, 1).wait_ends(2).on(2).moves(1, {B::kDetached, B::kCleaning}).cleans(C, 1).cleans(P, 1);
  s.moves(1, {B::kCleaning, B::kGone}).on(1).leaves(P, 1);
}

// A module that never leaves: attached at the end, which is its own affair.
void stays(Stream& s) { bound(s); }

// A module that never completes: everything waits, by its own fault.
void never_completes(Stream& s) { client_leaving(s).detaches(C, 1, kPends).detaches(P, 1).deregister_exit(2); }

}  // namespace

const std::vector<Life>& all() {
  using LateRefusal = ModelOptions::LateRefusal;
  static const std::vector<Life> lives = {
      {.name = "simple", .write = simple},
      {.name = "provider_first_to_leave", .write = provider_first_to_leave},
      {.name = "pending", .write = pending},
      {.name = "completed_inside", .write = completed_inside},
      {.name = "completion_overtakes_return", .write = completion_overtakes_return},
      {.name = "completed_early", .write = completed_early},
      {.name = "completed_during_attach", .write = completed_during_attach},
      {.name = "completed_as_callback_starts",
       .write = completed_as_callback_starts,
       .options = {.early_complete_is_remembered = false}},
      {.name = "completed_too_early", .write = completed_too_early, .options = {.early_complete_is_remembered = false}},
      {.name = "overlapping_detaches", .write = overlapping_detaches},
      {.name = "late_bind", .write = late_bind},
      {.name = "late_and_refused", .write = late_and_refused},
      {.name = "offer_withdrawn", .write = offer_withdrawn, .options = {.offers_may_follow_register = true}},
      {.name = "both_leave", .write = both_leave},
      {.name = "client_declines", .write = client_declines},
      {.name = "provider_declines", .write = provider_declines},
      {.name = "offered_on_arrival", .write = offered_on_arrival, .options = {.refused_pairs_are_offered_again = true}},
      {.name = "stopped_by_completion",
       .write = [](Stream& s) { client_leaving(s).complete(P, 1, D::kIdle, HandleState::kWrongKind); },
       .options = {.bad_completion_stops = true}},
      {.name = "offered_again", .write = offered_again, .options = {.refused_pairs_are_offered_again = true}},
      {.name = "retry_after_refusal", .write = retry_after_refusal},
      {.name = "retry_not_allowed", .write = retry_not_allowed},
      {.name = "success_without_provider", .write = success_without_provider},
      {.name = "register_fails", .write = register_fails},
      {.name = "other_npi", .write = other_npi},
      {.name = "peer_left_before", .write = peer_left_before},
      {.name = "deregistered_in_own_attach", .write = deregistered_in_own_attach},
      {.name = "two_clients", .write = two_clients},
      {.name = "register_at_once", .write = register_at_once},
      {.name = "attach_on_worker", .write = attach_on_worker, .options = {.offers_may_follow_register = true}},
      {.name = "no_cleanup_callbacks", .write = no_cleanup_callbacks},
      {.name = "null_context", .write = null_context},
      {.name = "null_context_skipped", .write = null_context_skipped, .options = {.null_context_skips_cleanup = true}},
      {.name = "late_refusal_detaches_provider", .write = late_refusal_detaches_provider},
      {.name = "late_refusal_cleans_up_only",
       .write = late_refusal_cleans_up_only,
       .options = {.late_refusal = LateRefusal::kCleanupOnly}},
      {.name = "late_refusal_stops",
       .write =
           [](Stream& s) {
             refused_late(s);
             s.events.pop_back();
           },
       .options = {.late_refusal = LateRefusal::kStop}},
      {.name = "bad_detach_status_is_done", .write = bad_detach_status_is_done},
      {.name = "bad_detach_status_pends", .write = bad_detach_status_pends},
      {.name = "success_when_idle", .write = success_when_idle, .options = {.deregister_succeeds_when_idle = true}},
      {.name = "deregister_fails_once", .write = deregister_fails_once, .options = {.deregister_may_fail = true}},
      {.name = "bad_handles", .write = bad_handles},
      {.name = "deregisters_race", .write = deregisters_race},
      {.name = "two_waiters", .write = two_waiters},
      {.name = "second_wait", .write = second_wait, .options = {.second_wait_is_tolerated = true}},
      {.name = "second_wait_taken_as_good",
       .write = second_wait_taken_as_good,
       .options = {.second_wait_is_tolerated = true}},
      {.name = "wait_taken_as_good_when_idle",
       .write = wait_taken_as_good_when_idle,
       .options = {.deregister_succeeds_when_idle = true}},
      {.name = "wait_overtakes_deregister", .write = wait_overtakes_deregister},
      {.name = "cleanup_in_wait", .write = cleanup_in_wait, .options = {.cleanup_comes_with_wait = true}},
      {.name = "cleanup_never_asked_for",
       .write = cleanup_never_asked_for,
       .options = {.cleanup_comes_with_wait = true}},
      {.name = "drained_before_cleanup", .write = drained_before_cleanup, .options = {.drained_before_cleanup = true}},
      {.name = "stays", .write = stays},
      {.name = "never_completes", .write = never_completes},
  };
  return lives;
}

const Life& named(const std::string& name) {
  for (const Life& life : all()) {
    if (life.name == name) {
      return life;
    }
  }
  throw std::logic_error("no life is called " + name);
}

std::vector<std::string> judge(const std::vector<Event>& events, const ModelOptions& options, bool all_threads_ended) {
  ReferenceModel model(options);
  for (const Event& event : events) {
    model.on_event(event);
  }
  model.finish(all_threads_ended);
  return model.disagreements();
}

namespace {

bool ends_in_mid_call(const Life& life) {
  return life.name == "late_refusal_stops" || life.name == "stopped_by_completion";
}

TEST(ReferenceModelLives, AreAccepted) {
  for (const Life& life : all()) {
    EXPECT_THAT(judge(life.events(), life.options, !ends_in_mid_call(life)), IsEmpty()) << life.name;
  }
}

// An execution that was cut short anywhere is no disagreement: nothing can be said to be missing.
TEST(ReferenceModelLives, AreAcceptedWhenCutShort) {
  for (const Life& life : all()) {
    std::vector<Event> events = life.events();
    while (!events.empty()) {
      events.pop_back();
      ASSERT_THAT(judge(events, life.options, false), IsEmpty()) << life.name << " up to event " << events.size();
    }
  }
}

// Two lives side by side do not touch each other (G23, G29), whatever their interleaving.
TEST(ReferenceModelLives, AreAcceptedInterleaved) {
  constexpr ObjectNumber kApart = 50;
  const auto moved = [](std::vector<Event> events) {
    for (Event& event : events) {
      event.thread += kApart;
      event.object += event.object == 0 ? 0 : kApart;
      event.a += event.kind == EventKind::kRegisterEnter || event.kind == EventKind::kOffer ? kApart : 0;
      event.b += event.kind == EventKind::kOffer ? kApart : 0;
    }
    return events;
  };
  for (const Life& life : all()) {
    if (ends_in_mid_call(life)) {
      continue;
    }
    const std::vector<Event> first = life.events();
    const std::vector<Event> second = moved(named("simple").events());
    std::uint32_t bits = 1;
    for (int round = 0; round < 20; ++round) {
      std::vector<Event> merged;
      std::size_t i = 0;
      std::size_t j = 0;
      while (i < first.size() || j < second.size()) {
        bits = bits * 1664525 + 1013904223;  // any fixed sequence
        const bool from_first = j == second.size() || (i < first.size() && (bits >> 31) != 0);
        merged.push_back(from_first ? first[i++] : second[j++]);
      }
      ASSERT_THAT(judge(merged, life.options, true), IsEmpty()) << life.name;
    }
  }
}

// A claim may come right after the border event that it belongs to.
TEST(ReferenceModelLives, ClaimsMayFollowTheirEvent) {
  for (const std::string name : {"simple", "pending", "late_bind", "completed_early"}) {
    std::vector<Event> events = named(name).events();
    for (std::size_t i = 0; i + 1 < events.size(); ++i) {
      const bool starts = events[i].kind == EventKind::kSideState && events[i + 1].kind == EventKind::kCallbackEnter;
      const bool negotiates =
          events[i].kind == EventKind::kBindingState && events[i].b == static_cast<std::uint64_t>(B::kNegotiating);
      if (starts || negotiates) {
        std::swap(events[i], events[i + 1]);
        ++i;
      }
    }
    EXPECT_THAT(judge(events, named(name).options, true), IsEmpty()) << name;
  }
}

}  // namespace
}  // namespace nmrfuzz::nmr::lives
