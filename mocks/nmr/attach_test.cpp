// attach_test.cpp - the guarantees about pairing and attaching.
#include <gtest/gtest.h>

#include <set>

#include "nmr/guarantee_fixture.h"

namespace nmrfuzz::nmr {
namespace {

class Attach : public GuaranteeTest {
 protected:
  // Registers and stays.
  void start_registering(Party& party) {
    bench.start(party.module, [this, &party] { bench.register_party(party); });
  }
};

TEST_F(Attach, G1_EachPairIsOfferedOnce) {
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kOffersTwice, Mutant::kLosesLastPair, Mutant::kPlansBeforeVisible},
         .prepare =
             [&] {
               for (const Role role : {Role::kClient, Role::kProvider, Role::kClient, Role::kProvider}) {
                 start_registering(add(role, 1));
               }
             },
         .check =
             [&] {
               std::set<std::pair<const Party*, const Party*>> pairs;
               for (const Pair& pair : bench.pairs()) {
                 pairs.emplace(pair.sides[0].party, pair.sides[1].party);
               }
               expect(pairs.size() == 4 && bench.pairs().size() == 4, "not each of four pairs was offered once");
             }});
}

TEST_F(Attach, G2_OnlyTheWholeGuidCounts) {
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kComparesHalfTheGuid},
         .prepare =
             [&] {
               for (const std::array<std::uint64_t, 2> npi : {std::array<std::uint64_t, 2>{1, 1}, {1, 2}, {2, 1}}) {
                 start_registering(add(Role::kClient, 1, npi));
                 start_registering(add(Role::kProvider, 2, npi));
               }
             },
         .check = [&] { expect(bench.pairs().size() == 3, "not three pairs were offered"); }});
}

TEST_F(Attach, G3_TheProvidersStatusIsThatOfTheAttachCall) {
  struct Seen {
    Status returned;
    ThreadNumber client_thread, provider_thread;
  } seen{};
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kHidesProviderStatus, Mutant::kTakesPendingAsSuccess},
         .prepare =
             [&] {
               seen = {};
               Party& asking = client();
               asking.attach = [&](Call& call) {
                 seen.client_thread = bench.scheduler.current().number;
                 return seen.returned = bench.attach_provider(call);
               };
               Party& asked = provider();
               asked.attach = [&](Call&) {
                 seen.provider_thread = bench.scheduler.current().number;
                 return bench.choose(2) == 0 ? kernel::kStatusPending : kernel::kStatusDeviceNotReady;
               };
               start_registering(asking);
               start_registering(asked);
             },
         .check =
             [&] {
               expect(seen.provider_thread != 0 && seen.client_thread == seen.provider_thread, "another thread");
               expect(seen.returned == kernel::kStatusDeviceNotReady || seen.returned == kernel::kStatusPending,
                      "another status than the provider's");
             }});
}

TEST_F(Attach, G4_AttachCallbacksRunAtPassiveLevel) {
  prove({.switches = kDetachSwitches, .mutants = {Mutant::kAttachesAtDispatch}, .prepare = [&] {
           start_life(client());
           Party& leaving = provider();  // its deregistration, at DISPATCH_LEVEL, may meet an attach
           bench.start(leaving.module, [this, &leaving] {
             bench.register_party(leaving);
             bench.kernel.set_irql(kernel::kDispatchLevel);
             bench.deregister(leaving);
             bench.kernel.set_irql(kernel::kPassiveLevel);
             bench.wait(leaving);
           });
         }});
}

TEST_F(Attach, G6_TheInstanceIsThePeersOwn) {
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kShowsCopyOfInstance},
         .prepare =
             [&] {
               start_registering(client());
               start_registering(provider());
             },
         .check = [&] { expect(accepted_pairs() == 1, "nobody attached"); }});  // the bench compares addresses
}

TEST_F(Attach, G8_NoDetachDuringAttach) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kDetachesAccepted, Mutant::kForgetsLateBind},
         .prepare =
             [&] {
               Party& attaching = client();
               attaching.attach = [&](Call& call) {
                 const Status status = bench.attach_provider(call);
                 bench.pause();
                 expect(call.own().detaches == 0 && call.pair.side(Role::kProvider).detaches == 0,
                        "detached before the attach callback has returned");
                 return status;
               };
               start_life(attaching);
               start_life(provider());
             },
         .check =
             [&] {
               for (Pair& pair : bench.pairs()) {
                 if (pair.sides[1].accepted) {
                   expect_full_life(pair);
                 }
               }
             }});
}

TEST_F(Attach, G9_NothingStartsAfterDeregister) {
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kOffersToLeaving, Mutant::kAsksLeavingProvider},
         .prepare = [&] {
           for (Party* const party : {&client(), &provider()}) {
             party->attach = [this](Call& call) {
               expect(!call.party.deregistered, "attach after Deregister has returned");
               bench.pause();
               return bench.accept(call);
             };
             start_life(*party);
           }
         }});
}

TEST_F(Attach, G16_ARefusalLeavesNoTrace) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kTellsRefusedProvider, Mutant::kCleansUpRefusedClient},
         .prepare =
             [&] {
               Party& refusing = provider();
               refusing.attach = [](Call&) { return kernel::kStatusNoInterface; };
               start_life(client());
               start_life(refusing);
             },
         .check =
             [&] {
               for (const Pair& pair : bench.pairs()) {
                 for (const Pair::Side& side : pair.sides) {
                   expect(side.detaches == 0 && side.cleanups == 0, "a refused side is told of an end");
                 }
               }
             }});
}

TEST_F(Attach, G25_ADeclinedOfferIsNoFailureOfRegister) {
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kFailsWithItsOffer},
         .prepare =
             [&] {
               Party& declining = client();
               declining.attach = [](Call&) { return kernel::kStatusNoInterface; };
               start_registering(declining);
               start_registering(provider());
             },
         .check =
             [&] {
               for (const Party& party : bench.parties) {
                 expect(party.status == kernel::kStatusSuccess, "Register failed");
               }
             }});
}

// Unless the world says otherwise (A12).
TEST_F(Attach, G26_ARefusedPairIsNotOfferedAgain) {
  prove({.switches = kAttachSwitches,
         .mutants = {Mutant::kOffersAgainAfterRefusal},
         .prepare =
             [&] {
               Party& declining = client();
               declining.attach = [](Call&) { return kernel::kStatusNoInterface; };
               start_registering(declining);
               start_registering(provider());
               start_registering(provider());
             },
         .check =
             [&] {
               const bool again = world_.reoffer == Reoffer::kOnNewRegistration;
               expect(bench.pairs().size() == 2 || (again && bench.pairs().size() == 3), "not two pairs were offered");
             }});
}

TEST_F(Attach, G27_AModuleIsPairedWithItself) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kSkipsOwnModule},
         .prepare =
             [&] {
               Party& upper = add(Role::kProvider, 1);
               Party& lower = add(Role::kClient, 1);
               bench.start(1, [&] {
                 bench.register_party(upper);
                 bench.register_party(lower);
                 bench.scheduler.wait_until_idle();  // attach_thread=worker_async
                 bench.deregister(upper);
                 bench.deregister(lower);
                 const bool lower_first = bench.choose(2) == 0;  // any order of waits ends (R107)
                 bench.wait(lower_first ? lower : upper);
                 bench.wait(lower_first ? upper : lower);
               });
             },
         .check = [&] { expect(bench.pairs().size() == 1, "not offered to itself"); }});
}

TEST_F(Attach, RefusedOutputsStayUntouched) {
  prove({.switches = kAttachSwitches, .mutants = {Mutant::kStoresRefusedOutputs}, .prepare = [&] {
           Party& refusing = provider();
           refusing.attach = [](Call& call) {
             *call.context_output = &call;
             return kernel::kStatusDeviceNotReady;
           };
           start_registering(client());
           start_registering(refusing);
         }});  // the bench compares the client's variables
}

}  // namespace
}  // namespace nmrfuzz::nmr
