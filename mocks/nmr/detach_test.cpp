// detach_test.cpp - the guarantees about detaching, cleaning up, and the wait.
#include <gtest/gtest.h>

#include "nmr/guarantee_fixture.h"

namespace nmrfuzz::nmr {
namespace {

class Detach : public GuaranteeTest {
 protected:
  // Both live, on threads of their own; each accepts what it is offered.
  void start_both() {
    start_life(client());
    start_life(provider());
  }
  // Registers both, the provider first, and hands over to `body` when they are attached.
  void start_attached(std::function<void(Party& attached_client, Party& attached_provider)> body) {
    Party& upper = client();
    Party& lower = add(Role::kProvider, 1);
    bench.start(1, [this, &upper, &lower, then = std::move(body)] {
      bench.register_party(lower);
      bench.register_party(upper);
      while (accepted_pairs() == 0) {  // attach_thread=worker_async
        bench.scheduler.yield({});
      }
      then(upper, lower);
    });
  }
  void expect_full_lives() {
    for (Pair& pair : bench.pairs()) {
      if (pair.sides[0].accepted) {
        expect_full_life(pair);
      }
    }
  }
};

TEST_F(Detach, G7_ContextsComeBackBitForBit) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kContextOfOtherSide, Mutant::kContextOfFirstBinding, Mutant::kSkipsNullContext},
         .prepare =
             [&] {
               Party& several = client();  // NULL, an integer, an address
               several.attach = [&](Call& call) {
                 void* const contexts[] = {nullptr, reinterpret_cast<void*>(~std::uint64_t{0}), &call.pair};
                 return bench.attach_provider(call, contexts[call.pair.number % 3], nullptr);
               };
               start_life(several);
               start_life(provider());
               start_life(provider());
             },
         .check = [&] { expect_full_lives(); }});  // the bench compares contexts
}

TEST_F(Detach, G10_EachSideIsToldOnce) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kLeavesTwice, Mutant::kNeverCallsDetach},
         .prepare =
             [&] {
               start_attached([&](Party& upper, Party& lower) {
                 bench.start(1, [&] { bench.leave(upper); });
                 bench.leave(lower);
               });
             },
         .check = [&] { expect_full_life(bench.pairs().front()); }});
}

TEST_F(Detach, G11_WhatNeverAttachedIsNotDetached) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kTellsRefusedProvider},
         .prepare =
             [&] {
               Party& declining = client();
               declining.attach = [](Call&) { return kernel::kStatusNoInterface; };
               start_life(declining);
               start_life(provider());
             },
         .check =
             [&] {
               for (const Pair& pair : bench.pairs()) {
                 expect(pair.sides[0].detaches == 0 && pair.sides[1].detaches == 0, "told to detach");
               }
             }});
}

TEST_F(Detach, G12_TheOtherSideIsToldAndStaysActive) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kTellsOneSide, Mutant::kPeerLeavesToo},
         .prepare =
             [&] {
               start_attached([&](Party&, Party& lower) {
                 bench.leave(lower);
                 Party& next = add(Role::kProvider, 1);  // is offered to the client that stayed
                 bench.register_party(next);
               });
             },
         .check =
             [&] {
               expect(bench.pairs().size() == 2 && accepted_pairs() == 2, "the client is not open for new pairs");
               expect(bench.pairs().front().sides[0].detaches == 1, "the client was not told");
               expect(bench.pairs().back().sides[0].detaches == 0, "the new pair was detached");
             }});
}

TEST_F(Detach, G13_NoCallbackAboveTheIrqlOfItsCause) {
  prove({.switches = {"detach_order", "detach_thread", "cleanup_order", "detach_fanout", "late_detach_thread"},
         .mutants = {Mutant::kCleansUpAtDispatch},
         .prepare = [&] { start_both(); }});  // everybody at PASSIVE_LEVEL; the bench looks
}

TEST_F(Detach, G14_CleanupWhenBothAreDoneAndOnce) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kOneSideIsEnough, Mutant::kCallsCleanupTwice, Mutant::kNeverCleansUpProvider},
         .prepare =
             [&] {
               Party& pending = client();
               pending.detach = [&](Call& call) { return bench.pend(call); };
               Party& without_cleanup = client();
               without_cleanup.has_cleanup = false;
               start_life(pending);
               start_life(without_cleanup);
               start_life(provider());
             },
         .check =
             [&] {
               for (const Pair& pair : bench.pairs()) {
                 for (const Pair::Side& side : pair.sides) {
                   expect(!pair.sides[0].accepted || (side.cleanups == 1) == side.party->has_cleanup,
                          "not one cleanup for each that has one");
                 }
               }
             }});
}

TEST_F(Detach, G15_NoCleanupUnderADetachCallback) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kDoneInsideCallback},
         .prepare =
             [&] {
               for (Party* const party : {&client(), &provider()}) {
                 party->detach = [this](Call& call) {
                   const Status status = bench.pend(call);  // may overtake the return
                   bench.pause();
                   bench.pause();
                   expect(call.own().cleanups == 0, "cleaned up under its own detach callback");
                   return status;
                 };
                 start_life(*party);
               }
             },
         .check = [&] { expect_full_lives(); }});
}

TEST_F(Detach, G18_CompletionInsideBeforeAndAfterTheReturn) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kLosesInnerCompletion, Mutant::kCompletesOtherSide},
         .prepare =
             [&] {
               for (Party* const party : {&client(), &provider()}) {
                 party->detach = [this](Call& call) {
                   switch (bench.choose(3)) {
                     case 0:
                       bench.complete(call.pair, call.role);
                       return kernel::kStatusPending;
                     case 1:
                       return bench.pend(call, kernel::kDispatchLevel);
                     default:
                       return bench.pend(call);
                   }
                 };
                 start_life(*party);
               }
             },
         .check = [&] { expect_full_lives(); }});
}

// A8: a provider that closes by itself completes first, and then pends. xdp does that.
TEST_F(Detach, A8_ACompletionBeforeTheCallbackIsRemembered) {
  prove({.switches = kDetachSwitches,
         .mutants = {},
         .prepare =
             [&] {
               Party& closing = provider();
               closing.detach = [&](Call& call) {
                 return call.own().completed ? kernel::kStatusPending : kernel::kStatusSuccess;
               };
               start_life(client());
               bench.start(closing.module, [&, this] {
                 bench.register_party(closing);
                 for (Pair& pair : bench.pairs()) {
                   if (pair.side(Role::kProvider).accepted && pair.side(Role::kProvider).detaches == 0) {
                     bench.complete(pair, Role::kProvider);
                   }
                 }
                 bench.leave(closing);
               });
             },
         .check = [&] { expect_full_lives(); }});
}

TEST_F(Detach, G19_DeregisterDoesNotWait) {
  prove({.switches = kDetachSwitches, .mutants = {Mutant::kDeregisterWaits}, .prepare = [&] {
           start_attached([&](Party& upper, Party& lower) {
             for (Party* const party : {&upper, &lower}) {
               party->detach = [](Call&) { return kernel::kStatusPending; };
             }
             bench.deregister(upper);
             Pair& pair = bench.pairs().front();  // only the thread that got Deregister's answer completes
             for (const Role role : {Role::kClient, Role::kProvider}) {
               while (pair.side(role).detaches == 0) {
                 bench.scheduler.yield({});
               }
               bench.complete(pair, role);
             }
             bench.wait(upper);
           });
         }});
}

TEST_F(Detach, G20_TheWaitReturnsWhenNothingIsLeft) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kDrainedAtOnce, Mutant::kDrainedBeforeCleanup, Mutant::kWakesNobody},
         .prepare = [&] {
           Party& waiting = provider();
           waiting.cleanup = [&](Call&) { bench.pause(); };
           for (int i = 0; i < 3; ++i) {
             Party& pending = client();
             pending.detach = [&](Call& call) { return bench.pend(call); };
             start_life(pending);
           }
           bench.start(waiting.module, [&, this] {
             bench.register_party(waiting);
             bench.deregister(waiting);
             expect(bench.wait(waiting) == kernel::kStatusSuccess, "the wait failed");
             for (Pair& pair : bench.pairs()) {
               const Pair::Side& own = pair.side(Role::kProvider);
               const Pair::Side& peer = pair.side(Role::kClient);
               expect(own.party != &waiting || !own.accepted || (own.cleanups == 1 && peer.cleanups == 1),
                      "the wait returned before both sides were cleaned up");
             }
           });
         }});
}

TEST_F(Detach, G21_NothingOfARegistrationIsUsedAfterItsWait) {
  prove(
      {.switches = kDetachSwitches, .mutants = {Mutant::kDrainedAtOnce, Mutant::kDrainedBeforeCleanup}, .prepare = [&] {
         start_life(client());
         start_life(client());
         Party& gone = provider();
         bench.start(gone.module, [&, this] {
           bench.live(gone);
           gone.attach = nullptr;  // the bench complains of any callback from here on
           gone.instance = -1;
         });
       }});
}

TEST_F(Detach, G22_TheWaitsStatus) {
  prove({.switches = kDetachSwitches, .mutants = {Mutant::kWaitOnActiveSucceeds}, .prepare = [&] {
           start_attached([&](Party& upper, Party& lower) {
             TestRegistrar& registrar = bench.registrar;
             expect(registrar.wait_for_deregister(Role::kClient, upper.handle) == kernel::kStatusInvalidParameter,
                    "a wait without a deregistration succeeds");
             expect(registrar.wait_for_deregister(Role::kProvider, upper.handle) == kernel::kStatusInvalidParameter,
                    "a wait with a handle of the wrong kind succeeds");
             expect(bench.deregister(upper) == kernel::kStatusPending, "Deregister did not pend");
             expect(bench.wait(upper) == kernel::kStatusSuccess, "the wait failed");
             bench.leave(lower);
           });
         }});
}

TEST_F(Detach, G23_BindingsAreCompletedApart) {
  prove(
      {.switches = {"detach_order", "detach_thread", "detach_irql", "binding_order", "detach_fanout", "cleanup_order"},
       .mutants = {Mutant::kCompletesNextBinding},
       .prepare = [&] {
         Party& both = client();
         both.detach = [](Call&) { return kernel::kStatusPending; };
         bench.start(1, [&, this] {
           bench.register_party(add(Role::kProvider, 1));
           bench.register_party(add(Role::kProvider, 1));
           bench.register_party(both);
           while (accepted_pairs() != 2) {
             bench.scheduler.yield({});
           }
           bench.deregister(both);
           for (Pair& pair : bench.pairs()) {
             while (pair.sides[0].detaches == 0) {
               bench.scheduler.yield({});
             }
           }
           bench.complete(bench.pairs().front(), Role::kClient);
           bench.scheduler.wait_until_idle();
           expect(bench.pairs().back().sides[0].cleanups == 0, "completed together with the first");
           expect(bench.registrar.world().cleanup_where == CleanupWhere::kAtWait ||
                      bench.pairs().front().sides[0].cleanups == 1,
                  "the first waits for the second");
           bench.complete(bench.pairs().back(), Role::kClient);
           bench.wait(both);
         });
       }});
}

// On simulated threads whatever is ordered is visible; TSan judges the edges on real ones.
TEST_F(Detach, G28_EachStepComesAfterTheOneBefore) {
  struct Seen {
    int registered, attached, detached, cleaned;
  } seen{};
  prove(
      {.switches = kDetachSwitches, .mutants = {Mutant::kDrainedBeforeCleanup, Mutant::kDrainedAtOnce}, .prepare = [&] {
         seen = {.registered = 1, .attached = 0, .detached = 0, .cleaned = 0};
         Party& ordered = client();
         ordered.attach = [&](Call& call) {
           expect(seen.registered == 1, "attach before Register");
           seen.attached = 1;
           return bench.accept(call);
         };
         ordered.detach = [&](Call&) {
           expect(seen.attached == 1, "detach before attach");
           seen.detached = 1;
           return kernel::kStatusSuccess;
         };
         ordered.cleanup = [&](Call&) {
           expect(seen.detached == 1, "cleanup before detach");
           bench.pause();
           seen.cleaned = 1;
         };
         bench.start(1, [&] {
           bench.live(ordered);
           expect(seen.attached == seen.cleaned || bench.pairs().front().sides[1].accepted == false,
                  "the wait returned before the cleanup");
         });
         start_life(provider());
       }});
}

TEST_F(Detach, G29_OtherRegistrationsOfTheModuleStay) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kDetachesWholeModule},
         .prepare =
             [&] {
               start_attached([&](Party&, Party&) {
                 Party& other = add(Role::kClient, 1, {2, 2});
                 bench.live(other);
               });
             },
         .check =
             [&] {
               expect(bench.pairs().front().sides[0].detaches == 0, "another registration's binding was detached");
             }});
}

TEST_F(Detach, G30_TheTwoSidesOverlapOnlyWhereTheWorldSaysSo) {
  bool overlapped = false;
  const auto look = [&](Call& call) {
    bench.pause();
    overlapped = overlapped || call.pair.side(opposite(call.role)).detach_runs;
    bench.pause();
    return kernel::kStatusSuccess;
  };
  // The bench complains of an overlap in all other worlds.
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kDetachesAccepted, Mutant::kOneSideIsEnough},
         .prepare =
             [&] {
               for (Party* const party : {&client(), &provider()}) {
                 party->detach = look;
                 start_life(*party);
               }
             },
         .check = [&] { expect_full_lives(); }});
  EXPECT_TRUE(overlapped) << "detach_order=overlap shows in no schedule";
}

}  // namespace
}  // namespace nmrfuzz::nmr
