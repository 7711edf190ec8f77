#include "contract/callback_status.h"

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using nmr::Callback;
using nmr::Role;

constexpr kernel::Status kSuccess = kernel::kStatusSuccess;
constexpr kernel::Status kPending = kernel::kStatusPending;
constexpr kernel::Status kDeclined = kernel::kStatusNoInterface;
constexpr kernel::Status kNoMemory = kernel::kStatusInsufficientResources;

TEST(CallbackStatusTest, ClientAttachProvider) {
  constexpr StreamCase kCases[] = {
      {"accepts", kRight,
       [](Stream& s) {
         s.attach_call_returns(1, kSuccess);
         s.callback_returns(Callback::kClientAttachProvider, 1, kSuccess);
       }},
      {"declines without asking", kRight,
       [](Stream& s) { s.callback_returns(Callback::kClientAttachProvider, 1, kDeclined); }},
      {"fails without asking: the status is a soft rule (A19)", kRight,
       [](Stream& s) { s.callback_returns(Callback::kClientAttachProvider, 1, kNoMemory); }},
      {"returns the provider's refusal", kRight,
       [](Stream& s) {
         s.attach_call_returns(1, kNoMemory);
         s.callback_returns(Callback::kClientAttachProvider, 1, kNoMemory);
       }},
      {"asks again, and returns the last answer", kRight,
       [](Stream& s) {
         s.attach_call_returns(1, kDeclined);
         s.attach_call_returns(1, kSuccess);
         s.callback_returns(Callback::kClientAttachProvider, 1, kSuccess);
       }},
      {"asks again, and returns the first answer",
       {FindingKind::kBadStatus, "R36"},
       [](Stream& s) {
         s.attach_call_returns(1, kDeclined);
         s.attach_call_returns(1, kNoMemory);
         s.callback_returns(Callback::kClientAttachProvider, 1, kDeclined);
       }},
      {"replaces the refusal by another error",
       {FindingKind::kBadStatus, "R36"},
       [](Stream& s) {
         s.attach_call_returns(1, kNoMemory);
         s.callback_returns(Callback::kClientAttachProvider, 1, kDeclined);
       }},
      {"succeeds after a refusal",
       {FindingKind::kBadStatus, "R37"},
       [](Stream& s) {
         s.attach_call_returns(1, kDeclined);
         s.callback_returns(Callback::kClientAttachProvider, 1, kSuccess);
       }},
      {"succeeds without asking",
       {FindingKind::kBadStatus, "R37"},
       [](Stream& s) { s.callback_returns(Callback::kClientAttachProvider, 1, kSuccess); }},
      {"succeeds on another binding's acceptance",
       {FindingKind::kBadStatus, "R37"},
       [](Stream& s) {
         s.attach_call_returns(1, kSuccess);
         s.callback_returns(Callback::kClientAttachProvider, 2, kSuccess);
       }},
      {"pends",
       {FindingKind::kBadStatus, "R38"},
       [](Stream& s) { s.callback_returns(Callback::kClientAttachProvider, 1, kPending); }},
      {"pends after an acceptance",
       {FindingKind::kBadStatus, "R38"},
       [](Stream& s) {
         s.attach_call_returns(1, kSuccess);
         s.callback_returns(Callback::kClientAttachProvider, 1, kPending);
       }},
      {"fails after an acceptance",
       {FindingKind::kBadStatus, "R39"},
       [](Stream& s) {
         s.attach_call_returns(1, kSuccess);
         s.callback_returns(Callback::kClientAttachProvider, 1, kNoMemory);
       }},
  };
  expect_verdicts(kCases);
}

TEST(CallbackStatusTest, ProviderAttachClient) {
  constexpr StreamCase kCases[] = {
      {"accepts with both outputs", kRight,
       [](Stream& s) { s.callback_returns(Callback::kProviderAttachClient, 1, kSuccess, 3); }},
      {"declines without outputs", kRight,
       [](Stream& s) { s.callback_returns(Callback::kProviderAttachClient, 1, kDeclined, 0); }},
      {"accepts without a context",
       {FindingKind::kBadStatus, "R49"},
       [](Stream& s) { s.callback_returns(Callback::kProviderAttachClient, 1, kSuccess, 2); }},
      {"accepts without a dispatch table",
       {FindingKind::kBadStatus, "R49"},
       [](Stream& s) { s.callback_returns(Callback::kProviderAttachClient, 1, kSuccess, 1); }},
      {"pends",
       {FindingKind::kBadStatus, "R50"},
       [](Stream& s) { s.callback_returns(Callback::kProviderAttachClient, 1, kPending, 3); }},
  };
  expect_verdicts(kCases);
}

TEST(CallbackStatusTest, DetachOfEitherSide) {
  constexpr StreamCase kCases[] = {
      {"succeeds", kRight, [](Stream& s) { s.callback_returns(Callback::kClientDetachProvider, 1, kSuccess); }},
      {"pends", kRight, [](Stream& s) { s.callback_returns(Callback::kProviderDetachClient, 1, kPending); }},
      {"completes inside and pends", kRight,
       [](Stream& s) {
         s.complete(Role::kClient, 1, nmr::HandleState::kValid, nmr::DetachProgress::kCalling);
         s.callback_returns(Callback::kClientDetachProvider, 1, kPending);
       }},
      {"client fails",
       {FindingKind::kBadStatus, "R65"},
       [](Stream& s) { s.callback_returns(Callback::kClientDetachProvider, 1, kernel::kStatusInvalidParameter); }},
      {"provider fails",
       {FindingKind::kBadStatus, "R65"},
       [](Stream& s) { s.callback_returns(Callback::kProviderDetachClient, 1, kNoMemory); }},
      {"another success code",
       {FindingKind::kBadStatus, "R65"},
       [](Stream& s) { s.callback_returns(Callback::kProviderDetachClient, 1, kernel::kStatusTimeout); }},
      {"client completes and succeeds",
       {FindingKind::kBadCall, "R70"},
       [](Stream& s) {
         s.complete(Role::kClient, 1, nmr::HandleState::kValid, nmr::DetachProgress::kCalling);
         s.callback_returns(Callback::kClientDetachProvider, 1, kSuccess);
       }},
      {"provider completes and succeeds",
       {FindingKind::kBadCall, "R70"},
       [](Stream& s) {
         s.complete(Role::kProvider, 1, nmr::HandleState::kValid, nmr::DetachProgress::kCalling);
         s.callback_returns(Callback::kProviderDetachClient, 1, kSuccess);
       }},
      {"the other side has completed", kRight,
       [](Stream& s) {
         s.complete(Role::kProvider, 1);
         s.callback_returns(Callback::kClientDetachProvider, 1, kSuccess);
       }},
      {"another binding has been completed", kRight,
       [](Stream& s) {
         s.complete(Role::kClient, 2);
         s.callback_returns(Callback::kClientDetachProvider, 1, kSuccess);
       }},
  };
  expect_verdicts(kCases);
}

TEST(CallbackStatusTest, PeersAreNotJudged) {
  Stream stream;
  stream.callback_returns(Callback::kClientAttachProvider, 1, kSuccess, 0, 0);
  stream.callback_returns(Callback::kProviderAttachClient, 1, kSuccess, 0, 0);
  stream.callback_returns(Callback::kClientDetachProvider, 1, kNoMemory, 0, 0);
  EXPECT_EQ(stream.verdict(), kRight);
}

TEST(CallbackStatusTest, CleanupHasNoStatus) {
  Stream stream;
  stream.callback_returns(Callback::kClientCleanupBindingContext, 1, kNoMemory);
  stream.callback_returns(Callback::kProviderCleanupBindingContext, 1, kNoMemory);
  EXPECT_EQ(stream.verdict(), kRight);
}

TEST(CallbackStatusTest, ForgetsThePreviousExecution) {
  Stream stream;
  stream.attach_call_returns(1, kSuccess);
  stream.complete(Role::kClient, 1);
  stream.reset();
  stream.callback_returns(Callback::kClientDetachProvider, 1, kSuccess);
  EXPECT_EQ(stream.verdict(), kRight);
  stream.callback_returns(Callback::kClientAttachProvider, 1, kSuccess);
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kBadStatus, "R37"}));
}

TEST(CallbackStatusTest, DecliningWithAnotherErrorIsNoted) {
  constexpr kernel::Status kOther = kernel::kStatusInvalidParameter;
  Stream stream;
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 1, kernel::kStatusInsufficientResources);
  stream.callback_returns(nmr::Callback::kProviderAttachClient, 1, kernel::kStatusInsufficientResources);
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 1, kernel::kStatusNoInterface);
  stream.callback_returns(nmr::Callback::kProviderAttachClient, 1, kernel::kStatusNoInterface);
  EXPECT_EQ(stream.note(), "none");
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 1, kOther);
  EXPECT_EQ(stream.note(), "R31");
  stream.reset();
  stream.callback_returns(nmr::Callback::kProviderAttachClient, 1, kOther);
  EXPECT_EQ(stream.note(), "R48");
  stream.reset();
  stream.attach_call_returns(1, kOther);  // the provider's status, which the client passes on
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 1, kOther);
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 2, kOther, 0, 0);  // a peer
  EXPECT_EQ(stream.note(), "none");
  EXPECT_EQ(stream.verdict(), kRight);
}

TEST(CallbackStatusTest, AWaitInADetachCallbackIsNoted) {
  const auto detach = [](Stream& s, kernel::Routine routine, bool blocks) {
    s.enter_callback(nmr::Callback::kClientDetachProvider, 1);
    s.write({.kind = Stream::Kind::kCall, .routine = Stream::of(routine), .module = 1, .object = 3});
    if (blocks) {
      s.write({.kind = Stream::Kind::kBlock, .object = 3});
    }
    s.callback_returns(nmr::Callback::kClientDetachProvider, 1, kernel::kStatusSuccess);
  };
  Stream stream;
  detach(stream, kernel::Routine::KeWaitForSingleObject, true);
  EXPECT_EQ(stream.note(), "A4");
  stream.reset();
  detach(stream, kernel::Routine::KeWaitForSingleObject, false);
  detach(stream, kernel::Routine::KeAcquireSpinLock, true);
  EXPECT_EQ(stream.note(), "none");
  EXPECT_EQ(stream.verdict(), kRight);
}

TEST(CallbackStatusTest, RegistrationsInsideCallbacksAreNoted) {
  const auto attach = [](Stream& s, trace::ObjectNumber deregistered) {
    s.offer(1, 5, 6);
    s.enter_callback(nmr::Callback::kClientAttachProvider, 1);
    s.use_handle(Stream::Kind::kDeregisterEnter, deregistered, nmr::HandleState::kValid);
    s.callback_returns(nmr::Callback::kClientAttachProvider, 1, kernel::kStatusNoInterface);
  };
  Stream stream;
  attach(stream, 5);
  EXPECT_EQ(stream.note(), "A6");
  stream.reset();
  attach(stream, 7);
  EXPECT_EQ(stream.note(), "A13");
  stream.reset();
  stream.use_handle(Stream::Kind::kDeregisterEnter, 7, nmr::HandleState::kValid);
  stream.enter_callback(nmr::Callback::kClientAttachProvider, 1);
  stream.callback_returns(nmr::Callback::kClientAttachProvider, 1, kernel::kStatusNoInterface);
  stream.use_handle(Stream::Kind::kDeregisterEnter, 7, nmr::HandleState::kValid);
  EXPECT_EQ(stream.note(), "none");
  EXPECT_EQ(stream.verdict(), kRight);
}

}  // namespace
}  // namespace nmrfuzz::contract
