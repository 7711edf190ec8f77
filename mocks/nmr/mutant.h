// mutant.h - the ways in which a test may break the registrar, to see that its judges notice.
//
// The registrar asks is_mutant() at the one condition that a mutant changes. A port that has no member `mutant` makes
// every question a constant false: the product contains none of this.
#pragma once

#include <cstdint>

namespace nmrfuzz::nmr {

enum class Mutant : std::uint8_t {
  kNone,

  // Pairing.
  kOffersTwice,             // each pair is offered again (G1)
  kLosesLastPair,           // the last of several pairs is not offered (G1)
  kPlansBeforeVisible,      // two registrations that arrive together miss each other (G1)
  kComparesHalfTheGuid,     // G2
  kOffersAgainAfterRefusal, // G26
  kOffersToLeaving,         // G9
  kShowsFailedRegistration, // G24
  kFailsWithItsOffer,       // Register returns an error when nobody attached (G25)
  kSkipsOwnModule,          // a module is not paired with itself (G27)

  // Attaching.
  kAsksLeavingProvider,     // G9
  kHidesProviderStatus,     // G3
  kTakesPendingAsSuccess,   // NT_SUCCESS instead of STATUS_SUCCESS (A20)
  kStoresRefusedOutputs,    // note 6 of the contract
  kShowsCopyOfInstance,     // G6
  kTellsRefusedProvider,    // detach of a refused binding (G11)
  kCleansUpRefusedClient,   // G16

  // Detaching.
  kDetachesAccepted,        // before the client's attach callback has returned (G8)
  kForgetsLateBind,         // G8, G12
  kLeavesTwice,             // both deregistrations detach the binding (G10)
  kTellsOneSide,            // G12
  kLosesInnerCompletion,    // of a completion inside the detach callback (G18)
  kCompletesOtherSide,      // G18
  kDoneInsideCallback,      // the side is done although its callback still runs (G15)
  kIgnoresRunningCallbacks, // cleanup while the peer's detach callback runs (G15)
  kOneSideIsEnough,         // cleanup before both sides are done (G14)
  kCompletesNextBinding,    // G23
  kContextOfOtherSide,      // G7
  kContextOfFirstBinding,   // G7
  kSkipsNullContext,        // detach and cleanup, in each world (G7, G14)

  // Leaving.
  kDetachesWholeModule,     // the module's other registrations lose their bindings (G29)
  kPeerLeavesToo,           // the peer's registration does not stay active (G12)
  kDeregisterWaits,         // G19
  kDrainedBeforeCleanup,    // G20
  kDrainedAtOnce,           // G20
  kDrainedDuringRegister,   // G20
  kWaitOnActiveSucceeds,    // G22
  kTakesClosedHandle,       // G5
  kTakesForeignHandle,      // G5

  // These are changes of the port that the tests make, not of the registrar.
  kWakesNobody,             // G20
  kAttachesAtDispatch,      // G4
  kCleansUpAtDispatch,      // G13
  kCallsCleanupTwice,       // G14
  kNeverCleansUpProvider,   // G14
  kNeverCallsDetach,        // G10
  kTellsWaiterBeforeReturn, // callbacks run after the wait has returned (G20)
  kCount
};

}  // namespace nmrfuzz::nmr
