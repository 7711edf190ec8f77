// reference_model_faults_test.cpp - faults of a registrar, each a lawful life with little changed: the model names them
// all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nmr/reference_model_lives.h"

namespace nmrfuzz::nmr {
namespace {

using lives::Edited;
using lives::EventKind;
using lives::judge;
using lives::Life;
using lives::named;
using lives::Stream;
using B = BindingState;
using D = DetachProgress;
using R = RegistrationState;
using testing::Contains;
using testing::HasSubstr;

constexpr Role C = Role::kClient;
constexpr Role P = Role::kProvider;
constexpr auto kClientAttach = static_cast<std::uint64_t>(Callback::kClientAttachProvider);
constexpr auto kClientDetach = static_cast<std::uint64_t>(Callback::kClientDetachProvider);
constexpr auto kClientCleanup = static_cast<std::uint64_t>(Callback::kClientCleanupBindingContext);
constexpr auto kProviderAttach = static_cast<std::uint64_t>(Callback::kProviderAttachClient);
constexpr auto kProviderDetach = static_cast<std::uint64_t>(Callback::kProviderDetachClient);
constexpr auto kProviderCleanup = static_cast<std::uint64_t>(Callback::kProviderCleanupBindingContext);

struct Fault {
  std::string name;
  std::string says;  // how a disagreement must begin: its rule, or more; others may complain too
  std::string life;
  std::function<void(Edited&)> make;
};

// Of each guarantee that the stream shows, at least one registrar that breaks it.
const std::vector<Fault>& broken_guarantees() {
  static const std::vector<Fault> list = {
      // G1, G2, G26: offers.
      {"pair never offered", "G1", "simple", [](Edited& e) { e.forget_binding(1); }},
      {"second client never offered", "G1: client 3 and provider 1", "two_clients",
       [](Edited& e) { e.forget_binding(2); }},
      {"pair never offered, seen at the end", "G1", "attach_on_worker",
       [](Edited& e) { e.erase(e.at(EventKind::kOffer), e.events.size() - e.at(EventKind::kOffer)); }},
      {"second client never offered, seen at the end", "G1: client 3 and provider 1", "attach_on_worker",
       [](Edited& e) {
         e.erase(e.at(EventKind::kDeregisterEnter), e.events.size() - e.at(EventKind::kDeregisterEnter));
         e.write(e.events.size(), [](Stream& s) { s.registers(C, 3); });
       }},
      {"pair offered twice", "G1", "simple",
       [](Edited& e) { e.write(e.claim(R::kActive, 2), [](Stream& s) { s.offer(2, 2, 1); }); }},
      {"client asked twice", "G1", "client_declines",
       [](Edited& e) { e.insert(e.claim(B::kGone), {e[e.enter(kClientAttach)], e[e.exit(kClientAttach)]}); }},
      {"offer without a callback", "G1", "stays",
       [](Edited& e) { e.erase(e.at(EventKind::kOffer) + 1, e.claim(B::kAttached) - e.at(EventKind::kOffer)); }},
      {"two providers joined", "G1", "other_npi",
       [](Edited& e) { e.write(e.at(EventKind::kDeregisterEnter), [](Stream& s) { s.offer(1, 1, 2); }); }},
      {"offered across NPIs", "G2", "other_npi",
       [](Edited& e) { e.write(e.at(EventKind::kDeregisterEnter), [](Stream& s) { s.offer(1, 2, 1); }); }},
      {"declined pair offered again", "G26", "provider_declines",
       [](Edited& e) { e.write(e.at(EventKind::kDeregisterEnter), [](Stream& s) { s.offer(2, 2, 1); }); }},

      // G3, G4, G7: attach callbacks.
      {"provider asked outside the attach call", "G3", "simple",
       [](Edited& e) { e.move(e.enter(kProviderAttach), 2, e.at(EventKind::kAttachCallEnter)); }},
      {"provider asked on another thread", "G3", "simple",
       [](Edited& e) {
         e[e.enter(kProviderAttach)].thread = 9;
         e[e.exit(kProviderAttach)].thread = 9;
       }},
      {"provider asked twice in one call", "G3", "provider_declines",
       [](Edited& e) {
         e.insert(e.exit(kProviderAttach) + 1, {e[e.enter(kProviderAttach)], e[e.exit(kProviderAttach)]});
       }},
      {"provider's status not handed on", "G3", "provider_declines",
       [](Edited& e) { e[e.at(EventKind::kAttachCallExit)].status = 0xC0000001; }},
      {"attach call succeeds without provider", "G3", "late_and_refused",
       [](Edited& e) { e[e.at(EventKind::kAttachCallExit)].status = 0; }},
      {"client attach at DISPATCH_LEVEL", "G4", "simple", [](Edited& e) { e[e.enter(kClientAttach)].irql = 2; }},
      {"provider attach at APC_LEVEL", "G4", "simple", [](Edited& e) { e[e.enter(kProviderAttach)].irql = 1; }},
      {"client attach with the provider's context", "G7", "simple",
       [](Edited& e) { e[e.enter(kClientAttach)].b = 11; }},
      {"provider attach with the client's binding context", "G7", "simple",
       [](Edited& e) { e[e.enter(kProviderAttach)].b = 101; }},
      {"detach with NULL", "G7", "simple", [](Edited& e) { e[e.enter(kClientDetach)].b = 0; }},
      {"detach with the peer's context", "G7", "simple", [](Edited& e) { e[e.enter(kProviderDetach)].b = 101; }},
      {"cleanup with the other binding's context", "G7", "two_clients",
       [](Edited& e) { e[e.enter(kClientCleanup, 1)].b = 102; }},
      {"NULL context replaced", "G7", "null_context", [](Edited& e) { e[e.enter(kClientDetach)].b = 101; }},
      {"callback of another module", "G7", "simple", [](Edited& e) { e[e.enter(kClientDetach)].module = 2; }},

      // G5: handles.
      {"offered binding's handle unknown", "G5", "simple",
       [](Edited& e) { e[e.at(EventKind::kAttachCallEnter)].a = static_cast<std::uint64_t>(HandleState::kUnknown); }},
      {"attached binding's handle stale", "G5", "pending",
       [](Edited& e) { e[e.at(EventKind::kComplete)].a = static_cast<std::uint64_t>(HandleState::kStale); }},
      {"live registration's handle stale", "G5", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kWaitEnter)].a = static_cast<std::uint64_t>(HandleState::kStale); }},
      {"handle of nothing accepted", "G5", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kDeregisterEnter)].a = 0; }},
      {"attach call of nothing accepted", "G5", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kAttachCallEnter)].a = 0; }},

      // G8, G9: deregistration meets an attach.
      {"detach before the attach has ended", "G8", "late_bind",
       [](Edited& e) {
         const std::size_t end = e.exit(kClientAttach);
         e.move(e.enter(kProviderDetach), 2, end);
       }},
      {"offer after Deregister returned", "G9", "other_npi",
       [](Edited& e) {
         e[e.at(EventKind::kRegisterEnter, 2)].a = 1;
         const std::size_t closed = e.at(EventKind::kDeregisterExit, Edited::kAny, 2);
         e.move(e.at(EventKind::kRegisterEnter, Edited::kAny, 1), 4, closed + 1);
         e.write(e.claim(R::kActive, 1), [](Stream& s) { s.offer(1, 2, 1); });
       }},
      {"offer after Deregister was entered", "section 3.2", "deregistered_in_own_attach",
       [](Edited& e) {
         const std::size_t offer = e.at(EventKind::kOffer);
         e.move(e.at(EventKind::kDeregisterEnter), 2, offer);
       }},
      {"client attach starts after its Deregister returned", "G9", "offer_withdrawn",
       [](Edited& e) {
         e.write(e.claim(B::kGone), [](Stream& s) {
           s.on(2)
               .enter(Callback::kClientAttachProvider, 1, 12)
               .exit(Callback::kClientAttachProvider, 1, lives::kDeclines);
         });
       }},
      {"provider attach starts after its Deregister returned", "G9", "late_bind",
       [](Edited& e) {
         const std::size_t call = e.at(EventKind::kAttachCallEnter);
         e.move(e.at(EventKind::kDeregisterEnter), 3, call);
       }},

      // G10, G11, G12: who is told to detach.
      {"client told twice", "G10", "simple",
       [](Edited& e) { e.insert(e.exit(kClientDetach) + 1, {e[e.enter(kClientDetach)], e[e.exit(kClientDetach)]}); }},
      {"told by both deregistrations", "G10", "both_leave",
       [](Edited& e) {
         e.insert(e.at(EventKind::kDeregisterExit, Edited::kAny, 1),
                  {e[e.enter(kClientDetach)], e[e.exit(kClientDetach)]});
         e[e.at(EventKind::kDeregisterExit, Edited::kAny, 1) - 1].thread = 2;
         e[e.at(EventKind::kDeregisterExit, Edited::kAny, 1) - 2].thread = 2;
       }},
      {"peer never told", "G10, G12", "never_completes", [](Edited& e) { e.erase(e.enter(kProviderDetach) - 1, 4); }},
      {"nobody told", "G10, G12", "never_completes", [](Edited& e) { e.erase(e.enter(kClientDetach) - 1, 8); }},
      {"detach of a declined binding", "G11", "client_declines",
       [](Edited& e) {
         e.write(e.claim(B::kGone), [](Stream& s) { s.enter(Callback::kProviderDetachClient, 1, 0); });
       }},
      {"detach without a deregistration", "G29", "stays",
       [](Edited& e) {
         e.write(e.events.size(), [](Stream& s) { s.enter(Callback::kClientDetachProvider, 1, 101); });
       }},
      {"peer deregistered as well", "section 3.2", "simple",
       [](Edited& e) {
         e.write(e.enter(kClientDetach), [](Stream& s) { s.moves(1, {R::kActive, R::kDeregistering}); });
       }},
      {"late refusal calls the client again", "G11", "late_refusal_detaches_provider",
       [](Edited& e) {
         e.write(e.enter(kProviderDetach), [](Stream& s) { s.enter(Callback::kClientDetachProvider, 1, 101); });
       }},

      // G13 to G16: cleanup.
      {"detach above DISPATCH_LEVEL", "G13", "simple", [](Edited& e) { e[e.enter(kClientDetach)].irql = 3; }},
      {"cleanup above DISPATCH_LEVEL", "G13", "simple", [](Edited& e) { e[e.enter(kProviderCleanup)].irql = 3; }},
      {"cleanup while one side pends", "G14", "pending",
       [](Edited& e) {
         const std::size_t completion = e.at(EventKind::kComplete, Edited::kAny, 0, 1);
         e.move(e.enter(kClientCleanup), 2, completion);
       }},
      {"cleanup before the peer was told", "G14", "simple",
       [](Edited& e) { e.move(e.enter(kClientCleanup), 2, e.enter(kProviderDetach) - 1); }},
      {"cleanup twice", "G14", "simple",
       [](Edited& e) {
         e.insert(e.exit(kClientCleanup) + 1, {e[e.enter(kClientCleanup)], e[e.exit(kClientCleanup)]});
       }},
      {"cleanup skipped", "section 3.3", "simple", [](Edited& e) { e.erase(e.enter(kProviderCleanup), 2); }},
      {"cleanups do not come with the wait", "G14", "cleanup_in_wait",
       [](Edited& e) { e.erase(e.claim(B::kCleaning), e.events.size() - e.claim(B::kCleaning)); }},
      {"cleanups never come", "G14", "simple",
       [](Edited& e) {
         e.erase(e.claim(B::kCleaning), e.events.size() - e.claim(B::kCleaning));
         e.write(e.events.size(), [](Stream& s) { s.deregister_exit(2); });
       }},
      {"cleanup of a NULL context skipped", "section 3.3", "null_context",
       [](Edited& e) { e.erase(e.enter(kClientCleanup), 2); }},
      {"cleanup during a completed detach callback", "G15", "completed_inside",
       [](Edited& e) {
         const std::size_t end = e.exit(kClientDetach);
         e.move(end + 2, 3, end);  // the provider's detach
         e.move(e.enter(kClientCleanup), 2, e.exit(kClientDetach));
       }},
      {"absent cleanup callback called", "section 6 A17, A11", "no_cleanup_callbacks",
       [](Edited& e) { e.write(e.claim(B::kGone), [](Stream& s) { s.cleans(C, 1); }); }},
      {"cleanup after the client declined", "G16", "client_declines",
       [](Edited& e) {
         e.write(e.claim(B::kGone), [](Stream& s) { s.enter(Callback::kClientCleanupBindingContext, 1, 0); });
       }},
      {"cleanup after the provider declined", "G16", "provider_declines",
       [](Edited& e) {
         e.write(e.claim(B::kGone), [](Stream& s) { s.enter(Callback::kClientCleanupBindingContext, 1, 101); });
       }},
      {"cleanup of a client that refused late", "section 6 A17, A11", "late_refusal_detaches_provider",
       [](Edited& e) {
         e.write(e.enter(kProviderCleanup), [](Stream& s) { s.enter(Callback::kClientCleanupBindingContext, 1, 101); });
       }},

      // G18: completions.
      {"completion of a pending detach refused", "G18", "pending",
       [](Edited& e) { e[e.at(EventKind::kComplete)].a = static_cast<std::uint64_t>(HandleState::kWrongState); }},
      {"completion inside the callback refused", "G18", "completed_inside",
       [](Edited& e) { e[e.at(EventKind::kComplete)].a = static_cast<std::uint64_t>(HandleState::kWrongState); }},
      {"early completion refused", "G18", "completed_early",
       [](Edited& e) { e[e.at(EventKind::kComplete)].a = static_cast<std::uint64_t>(HandleState::kWrongState); }},
      {"second completion accepted", "section 3.3", "pending",
       [](Edited& e) { e.insert(e.at(EventKind::kComplete), {e[e.at(EventKind::kComplete)]}); }},
      {"early completion accepted", "section 3.3", "completed_too_early",
       [](Edited& e) { e[e.at(EventKind::kComplete)].a = 0; }},
      {"completion counted for the other side", "section 3.3", "never_completes",
       [](Edited& e) {
         e.write(e.at(EventKind::kDeregisterExit),
                 [](Stream& s) { s.complete(C, 1, D::kPending).moves(P, 1, {D::kPending, D::kDone}); });
       }},
      {"completion finds a progress that is not", "section 3.3", "pending",
       [](Edited& e) { e[e.at(EventKind::kComplete)].b = static_cast<std::uint64_t>(D::kCalling); }},

      // G19 to G22: Deregister and the wait.
      {"Deregister blocks", "G19", "never_completes",
       [](Edited& e) { e.write(e.at(EventKind::kDeregisterExit), [](Stream& s) { s.plain(EventKind::kBlock); }); }},
      {"wait returns with a side pending", "G20", "pending",
       [](Edited& e) {
         const std::size_t completion = e.at(EventKind::kComplete);
         e.write(completion, [](Stream& s) { s.on(2).drains(2).on(1).wait_ends(2); });
         e.erase(e.claim(R::kDrained, 2) + 3, e.events.size() - e.claim(R::kDrained, 2) - 3);
       }},
      {"wait returns during the last cleanup", "G20", "pending",
       [](Edited& e) { e.move(e.claim(R::kDrained, 2), 3, e.exit(kProviderCleanup)); }},
      {"wait returns without any claim", "G20", "pending",
       [](Edited& e) {
         const std::size_t exit = e.at(EventKind::kWaitExit);
         e.move(exit, 1, e.at(EventKind::kComplete));
       }},
      {"wait with a good handle fails", "G22", "simple",
       [](Edited& e) { e[e.at(EventKind::kWaitExit)].status = 0xC000000D; }},
      {"wait before Deregister succeeds", "G22", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kWaitExit)].status = 0; }},
      {"wait on a dead handle succeeds", "G22", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kWaitExit, Edited::kAny, 0, 2)].status = 0; }},
      {"second wait after Deregister succeeded", "G22", "success_when_idle",
       [](Edited& e) {
         e.write(e.events.size(), [](Stream& s) {
           s.wait_enter(P, 1, 0).wait_exit(1).wait_enter(P, 1, 0, HandleState::kStale).wait_exit(1);
         });
       }},
      {"wait takes an active registration", "section 3.2", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kWaitEnter)].a = 0; }},
      {"other role's handle accepted", "G22", "bad_handles",
       [](Edited& e) {
         e[e.at(EventKind::kDeregisterEnter, static_cast<std::uint64_t>(HandleState::kWrongKind))].a = 0;
       }},
      {"wait counts wrongly", "section 8.1", "pending", [](Edited& e) { e[e.at(EventKind::kWaitEnter)].b = 0; }},
      {"callback after the wait", "section 3.3", "simple",
       [](Edited& e) { e.move(e.enter(kProviderCleanup), 2, e.at(EventKind::kWaitExit) + 1); }},

      // What only some worlds ask for.
      {"refused pair not offered again", "section 6 A12: registration 3", "offered_on_arrival",
       [](Edited& e) { e.forget_binding(3); }},
      {"goes on after a bad completion", "section 6 A11, A27", "stopped_by_completion",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.deregister_exit(2); }); }},
      {"goes on after a late refusal", "section 6 A11, A27", "late_refusal_stops",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.moves(1, {B::kAccepted, B::kDetaching}); }); }},

      // G24, G25, G29 and statuses.
      {"failed Register made an offer", "G24, G25", "register_fails",
       [](Edited& e) { e.write(e.at(EventKind::kRegisterExit, 1), [](Stream& s) { s.attach(1, 2, 1); }); }},
      {"failed Register stays registered", "G24", "register_fails",
       [](Edited& e) {
         e.write(e.at(EventKind::kRegisterExit, 1), [](Stream& s) { s.moves(2, {R::kNone, R::kRegistering}); });
       }},
      {"declined attach fails Register", "G24, G25", "client_declines",
       [](Edited& e) {
         e.erase(e.claim(R::kActive, 2));
         e.erase(e.claim(R::kRegistering, 2));
         e[e.at(EventKind::kRegisterExit, Edited::kAny, 2)].status = 0xC00002B9;
       }},
      {"injected failure succeeds", "G24", "simple", [](Edited& e) { e[e.at(EventKind::kRegisterExit)].a = 1; }},
      {"Deregister succeeds at once", "section 6 A1", "other_npi",
       [](Edited& e) { e[e.at(EventKind::kDeregisterExit)].status = 0; }},
      {"Deregister fails", "section 2.1", "other_npi",
       [](Edited& e) { e[e.at(EventKind::kDeregisterExit)].status = 0xC000009A; }},
      {"failed Deregister changes the state", "section 6 A26", "deregister_fails_once",
       [](Edited& e) {
         e.write(e.at(EventKind::kDeregisterExit), [](Stream& s) { s.moves(1, {R::kActive, R::kDeregistering}); });
       }},
      {"bad handle's Deregister pends", "section 6 A26", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kDeregisterExit)].status = 0x103; }},
      {"both racing Deregisters win", "section 3.2", "deregisters_race",
       [](Edited& e) { e[e.at(EventKind::kDeregisterExit, Edited::kAny, 0, 1)].status = 0x103; }},

      // Claims and nesting.
      {"binding detached with a side pending", "G14, G15", "pending",
       [](Edited& e) {
         const std::size_t completion = e.at(EventKind::kComplete, Edited::kAny, 0, 1);
         e.move(e.claim(B::kDetached), 1, completion);
       }},
      {"registration drained with a binding", "G20", "simple",
       [](Edited& e) { e.move(e.claim(R::kDrained, 2), 1, e.enter(kProviderDetach)); }},
      {"state skipped", "section 3.2", "simple", [](Edited& e) { e.erase(e.claim(R::kDrained, 2)); }},
      {"attach call returns in the wrong frame", "nesting", "simple",
       [](Edited& e) { e[e.at(EventKind::kAttachCallExit)].thread = 9; }},
      {"callbacks return in the wrong order", "nesting", "provider_declines",
       [](Edited& e) { e.move(e.exit(kClientAttach), 1, e.exit(kProviderAttach)); }},
  };
  return list;
}

std::uint64_t handle(HandleState state) { return static_cast<std::uint64_t>(state); }

// Registrars that break the life cycle, or do not know what they did.
const std::vector<Fault>& broken_cycles() {
  static const std::vector<Fault> list = {
      // Registrations.
      {"number used again", "section 3.2: registration 2 is registered twice", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.register_enter(C, 2).register_exit(2); }); }},
      {"Register of nothing succeeds", "G24: Register of unknown registration 0", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.register_enter(C, 0).register_exit(0); }); }},
      {"Register pends", "section 2.1: Register of 1 returned 0x103", "stays",
       [](Edited& e) { e[e.at(EventKind::kRegisterExit)].status = 0x103; }},
      {"active after Register returned", "section 3.2: Register of 1 returned success in state 1", "stays",
       [](Edited& e) { e.move(e.claim(R::kActive, 1), 1, e.at(EventKind::kRegisterExit) + 1); }},
      {"good handle refused", "section 3.2: the handle of registration 2 was refused in state 2", "other_npi",
       [](Edited& e) { e[e.at(EventKind::kDeregisterEnter)].a = handle(HandleState::kWrongState); }},
      {"good handle not known", "G5: the handle of registration 2 was not recognised", "other_npi",
       [](Edited& e) { e[e.at(EventKind::kDeregisterEnter)].a = handle(HandleState::kUnknown); }},
      {"closed by a Deregister that pends", "section 3.2: registration 1 was closed by a Deregister",
       "success_when_idle", [](Edited& e) { e[e.at(EventKind::kDeregisterExit)].status = 0x103; }},
      {"Deregister succeeds in a world where it pends", "section 6 A1: Deregister of 2 returned 0x0", "other_npi",
       [](Edited& e) { e[e.at(EventKind::kDeregisterExit)].status = 0; }},
      {"Deregister succeeds with a binding", "G20: Deregister of 2 succeeded with bindings left", "success_when_idle",
       [](Edited& e) {
         e.events = named("stays").events();
         e.write(e.events.size(), [](Stream& s) { s.deregisters(C, 2).deregister_exit(2, lives::kOk); });
       }},
      {"Deregister succeeds and does not close", "section 6 A1: Deregister of 1 succeeded and left it open",
       "success_when_idle", [](Edited& e) { e.erase(e.claim(R::kClosed, 1)); }},
      {"wait of nothing accepted", "G5: the wait accepted", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.wait_enter(C, 0, 0); }); }},
      {"unknown registration moves", "section 3.2: registration 9 moves from 0 to 1", "stays",
       [](Edited& e) { e.write(0, [](Stream& s) { s.moves(9, {R::kNone, R::kRegistering}); }); }},
      {"registration skips a state", "section 3.2: registration 2 moves from 2 to 4", "other_npi",
       [](Edited& e) {
         e[e.claim(R::kDrained, 2)].a = static_cast<std::uint64_t>(R::kActive);
         e.erase(e.claim(R::kDeregistering, 2));
       }},
      {"nobody's deregistration", "G12, G29: registration 1 was left in state 3", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.moves(1, {R::kActive, R::kDeregistering}); }); }},

      // Attach.
      {"provider offered to provider", "G1: binding 1 joins registrations 1 and 2", "other_npi",
       [](Edited& e) { e.write(e.at(EventKind::kDeregisterEnter), [](Stream& s) { s.offer(1, 1, 2); }); }},
      {"client offered to itself", "G1: binding 1 joins registrations 2 and 2", "other_npi",
       [](Edited& e) { e.write(e.at(EventKind::kDeregisterEnter), [](Stream& s) { s.offer(1, 2, 2); }); }},
      {"attach call accepted on another thread", "section 3.3: NmrClientAttachProvider was accepted for binding 1",
       "stays",
       [](Edited& e) {
         for (std::size_t i = e.at(EventKind::kAttachCallEnter); i <= e.at(EventKind::kAttachCallExit); ++i) {
           e[i].thread = 9;
         }
       }},
      {"attach call accepted twice", "section 3.3: NmrClientAttachProvider was accepted for binding 1", "stays",
       [](Edited& e) { e.write(e.exit(kClientAttach), [](Stream& s) { s.attach_call_enter(1, 101); }); }},
      {"attach call refused", "G5: NmrClientAttachProvider was refused for the offered binding 1", "stays",
       [](Edited& e) { e[e.at(EventKind::kAttachCallEnter)].a = handle(HandleState::kWrongState); }},
      {"offered binding stale", "G5: the handle of binding 1 was called stale", "stays",
       [](Edited& e) { e[e.at(EventKind::kAttachCallEnter)].a = handle(HandleState::kStale); }},
      {"offered binding unknown", "G5: the handle of binding 1 was not recognised", "stays",
       [](Edited& e) { e[e.at(EventKind::kAttachCallEnter)].a = handle(HandleState::kUnknown); }},
      {"attach call of nothing succeeds", "G5: NmrClientAttachProvider with a bad handle returned 0x0", "bad_handles",
       [](Edited& e) { e[e.at(EventKind::kAttachCallExit)].status = 0; }},
      {"accepted too late", "section 3.3: NmrClientAttachProvider for binding 1 returned 0x0 in state 1", "stays",
       [](Edited& e) { e.move(e.claim(B::kAccepted), 1, e.at(EventKind::kAttachCallExit) + 1); }},
      {"no such callback", "section 3.3: unknown callback 6 of binding 1", "stays",
       [](Edited& e) { e[e.enter(kClientAttach)].a = 6; }},
      {"client asked of a binding that is gone", "section 3.3: binding 1 was offered to its client in state 7",
       "offer_withdrawn",
       [](Edited& e) {
         e.write(e.claim(B::kGone) + 1, [](Stream& s) { s.enter(Callback::kClientAttachProvider, 1, 12); });
       }},
      {"provider asked twice at once", "G3: binding 1: two attach callbacks", "stays",
       [](Edited& e) { e.insert(e.enter(kProviderAttach), {e[e.enter(kProviderAttach)]}); }},
      {"negotiating too late", "section 3.3: binding 1: the provider's attach callback returned in state 0", "stays",
       [](Edited& e) { e.move(e.claim(B::kNegotiating), 1, e.exit(kProviderAttach) + 1); }},
      {"gone too early", "section 3.3: binding 1: the client's attach callback returned in state 7", "client_declines",
       [](Edited& e) { e.move(e.claim(B::kGone), 1, e.exit(kClientAttach)); }},

      // Detach and cleanup.
      {"detaching too late", "section 3.3: binding 1: detach callback 1 in state 3", "simple",
       [](Edited& e) { e.move(e.claim(B::kDetaching), 1, e.enter(kClientDetach) + 1); }},
      {"calling too late", "section 3.3: binding 1: detach callback 1 returned with its side at 0", "simple",
       [](Edited& e) { e.move(e.enter(kClientDetach) - 1, 1, e.exit(kClientDetach) + 1); }},
      {"detached too late", "section 3.3: binding 1: cleanup callback 2 in state 4", "simple",
       [](Edited& e) { e.move(e.claim(B::kDetached), 2, e.enter(kClientCleanup) + 1); }},
      {"cleaning too late", "section 3.3: binding 1: cleanup callback 2 returned in state 5", "simple",
       [](Edited& e) { e.move(e.claim(B::kCleaning), 1, e.exit(kClientCleanup) + 1); }},
      {"completion of nothing accepted", "G5: a detach was completed with a handle of no binding", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.complete(C, 9, D::kIdle); }); }},
      {"completed binding unknown", "G5: the handle of binding 1 was not recognised", "pending",
       [](Edited& e) { e[e.at(EventKind::kComplete)].a = handle(HandleState::kUnknown); }},
      {"unknown binding moves", "section 3.3: binding 9 moves from 0 to 7", "stays",
       [](Edited& e) { e.write(0, [](Stream& s) { s.moves(9, {B::kOffered, B::kGone}); }); }},
      {"binding skips a state", "section 3.3: binding 1 moves from 5 to 7", "no_cleanup_callbacks",
       [](Edited& e) {
         e[e.claim(B::kGone)].a = static_cast<std::uint64_t>(B::kDetached);
         e.erase(e.claim(B::kCleaning));
       }},
      {"unknown side moves", "section 3.3: side 2 of binding 1 moves from 0 to 1", "simple",
       [](Edited& e) { e[e.enter(kClientDetach) - 1].status = 2; }},
      {"side skips a state", "section 3.3: side 1 of binding 1 moves from 5 to 4", "completed_early",
       [](Edited& e) {
         const std::size_t exit = e.exit(kProviderDetach);
         e[exit + 1].a = static_cast<std::uint64_t>(D::kCompletedEarly);
         e.erase(exit - 2);
       }},
      {"never gone", "section 3.3: binding 1 was left in state 6", "no_cleanup_callbacks",
       [](Edited& e) { e.erase(e.claim(B::kGone)); }},
  };
  return list;
}

// Registrars that announce what has not happened.
const std::vector<Fault>& unfounded_claims() {
  static const std::vector<Fault> list = {
      {"closed before any wait", "section 3.2: registration 2 moves to 5 without reason", "simple",
       [](Edited& e) { e.move(e.claim(R::kClosed, 2), 1, e.at(EventKind::kWaitEnter)); }},
      {"active before Register", "section 3.2: registration 1 moves to 1 without reason", "simple",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.moves(1, {R::kNone, R::kRegistering}); }); }},
      {"negotiating before the attach call", "section 3.3: binding 1 moves from 0 to 1 without reason", "stays",
       [](Edited& e) { e.move(e.claim(B::kNegotiating), 1, e.at(EventKind::kAttachCallEnter)); }},
      {"declined before the provider returned", "section 3.3: binding 1 moves from 1 to 0 without reason",
       "provider_declines", [](Edited& e) { e.move(e.claim(B::kOffered), 1, e.exit(kProviderAttach)); }},
      {"declined though the provider accepted", "section 3.3: binding 1 moves from 1 to 0 without reason", "stays",
       [](Edited& e) { e[e.claim(B::kAccepted)].b = static_cast<std::uint64_t>(B::kOffered); }},
      {"accepted before the provider returned", "section 3.3: binding 1 moves from 1 to 2 without reason", "stays",
       [](Edited& e) { e.move(e.claim(B::kAccepted), 1, e.exit(kProviderAttach)); }},
      {"accepted though the provider declined", "section 3.3: binding 1 moves from 1 to 2 without reason",
       "provider_declines", [](Edited& e) { e[e.claim(B::kOffered)].b = static_cast<std::uint64_t>(B::kAccepted); }},
      {"attached before the client returned", "section 3.3: binding 1 moves from 2 to 3 without reason", "stays",
       [](Edited& e) { e.move(e.claim(B::kAttached), 1, e.exit(kClientAttach)); }},
      {"detaching without a deregistration", "section 3.3: binding 1 moves from 3 to 4 without reason", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.moves(1, {B::kAttached, B::kDetaching}); }); }},
      {"calling before detaching", "section 3.3: side 0 of binding 1 moves from 0 to 1 without reason", "simple",
       [](Edited& e) { e.move(e.enter(kClientDetach) - 1, 1, e.claim(B::kDetaching)); }},
      {"completed without a completion", "section 3.3: side 0 of binding 1 moves from 1 to 2 without reason", "simple",
       [](Edited& e) {
         e.write(e.exit(kClientDetach), [](Stream& s) { s.moves(C, 1, {D::kCalling, D::kCallingCompleted}); });
       }},
      {"pending before the return", "section 3.3: side 0 of binding 1 moves from 1 to 3 without reason", "pending",
       [](Edited& e) { e.move(e.exit(kClientDetach) + 1, 1, e.exit(kClientDetach)); }},
      {"pending after success", "section 3.3: side 0 of binding 1 moves from 1 to 3 without reason", "simple",
       [](Edited& e) { e[e.exit(kClientDetach) + 1].b = static_cast<std::uint64_t>(D::kPending); }},
      {"done before the return", "section 3.3: side 0 of binding 1 moves from 1 to 4 without reason", "simple",
       [](Edited& e) { e.move(e.exit(kClientDetach) + 1, 1, e.exit(kClientDetach)); }},
      {"done though it pends", "section 3.3: side 0 of binding 1 moves from 1 to 4 without reason", "pending",
       [](Edited& e) { e[e.exit(kClientDetach) + 1].b = static_cast<std::uint64_t>(D::kDone); }},
      {"done without a completion", "section 3.3: side 0 of binding 1 moves from 3 to 4 without reason",
       "never_completes",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.moves(C, 1, {D::kPending, D::kDone}); }); }},
      {"early completion out of nothing", "section 3.3: side 0 of binding 1 moves from 0 to 5 without reason", "stays",
       [](Edited& e) { e.write(e.events.size(), [](Stream& s) { s.moves(C, 1, {D::kIdle, D::kCompletedEarly}); }); }},
      {"early completion remembered where it is not", "section 3.3: side 1 of binding 1 moves from 0 to 5 without",
       "completed_too_early",
       [](Edited& e) {
         e[e.at(EventKind::kComplete)].a = handle(HandleState::kValid);
         e.write(e.at(EventKind::kComplete) + 1, [](Stream& s) { s.moves(P, 1, {D::kIdle, D::kCompletedEarly}); });
       }},
  };
  return list;
}

TEST(ReferenceModel, RejectsEachFault) {
  std::vector<Fault> faults = broken_guarantees();
  faults.insert(faults.end(), broken_cycles().begin(), broken_cycles().end());
  faults.insert(faults.end(), unfounded_claims().begin(), unfounded_claims().end());
  for (const Fault& fault : faults) {
    const Life& life = named(fault.life);
    Edited edited(life.events());
    fault.make(edited);
    const bool names_rule_only = fault.says.find(':') == std::string::npos;
    EXPECT_THAT(judge(edited.events, life.options),
                Contains(HasSubstr(": " + fault.says + (names_rule_only ? ": " : ""))))
        << fault.name;
  }
}

}  // namespace
}  // namespace nmrfuzz::nmr
