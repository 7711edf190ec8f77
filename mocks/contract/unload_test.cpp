#include "contract/unload.h"

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using nmr::Role;

constexpr kernel::Status kFailure = kernel::kStatusInsufficientResources;

TEST(UnloadTest, RegistrationsWhenUnloadReturns) {
  constexpr StreamCase kCases[] = {
      {"deregistered and waited for", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.leave(1);
         s.unload_returns();
         s.image_goes();
       }},
      {"never deregistered",
       {FindingKind::kUnloadRegistered, "R89"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.unload_returns();
       }},
      {"deregistered before Unload: R96 allows it", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.leave(1);
         s.enter_unload();
         s.unload_returns();
       }},
      {"the second of two providers is left",
       {FindingKind::kUnloadRegistered, "R93"},
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.enter_unload();
         s.leave(1);
         s.unload_returns();
       }},
      {"the other role is left",
       {FindingKind::kUnloadRegistered, "R94"},
       [](Stream& s) {
         s.register_one(1, Role::kProvider);
         s.register_one(2, Role::kClient);
         s.enter_unload();
         s.leave(1);
         s.unload_returns();
       }},
      {"both roles are ended", kRight,
       [](Stream& s) {
         s.register_one(1, Role::kProvider);
         s.register_one(2, Role::kClient);
         s.enter_unload();
         s.leave(1);
         s.leave(2);
         s.unload_returns();
       }},
      {"Deregister failed and was ignored",
       {FindingKind::kUnloadRegistered, "R92"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.use_handle(Stream::Kind::kDeregisterEnter, 1, nmr::HandleState::kValid);
         s.unload_returns();
       }},
      {"another module's registration lives on", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2, Role::kProvider, Stream::kOtherModule);
         s.enter_unload();
         s.leave(1);
         s.unload_returns();
       }},
      {"still inside Register",
       {FindingKind::kUnloadRegistered, "R89"},
       [](Stream& s) {
         s.enter_register(1, Role::kProvider);
         s.enter_unload();
         s.unload_returns();
       }},
      {"Register failed", kRight,
       [](Stream& s) {
         s.write({.kind = Stream::Kind::kRegisterEnter, .module = Stream::kModule, .object = 1});
         s.enter_unload();
         s.unload_returns();
       }},
  };
  expect_verdicts(kCases);
}

TEST(UnloadTest, DeregistrationsWhenUnloadReturns) {
  constexpr StreamCase kCases[] = {
      {"no wait",
       {FindingKind::kUnloadPending, "R91"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.deregister(1);
         s.unload_returns();
       }},
      {"no wait, though it happened to be through",
       {FindingKind::kUnloadPending, "R91"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.deregister(1);
         s.drain(1);
         s.unload_returns();
       }},
      {"another thread waits",
       {FindingKind::kUnloadPending, "R90"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.deregister(1);
         s.enter_wait(1);
         s.unload_returns();
       }},
      {"begun by another thread while Unload runs",
       {FindingKind::kUnloadPending, "R97"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload();
         s.write({.kind = Stream::Kind::kDeregisterEnter, .thread = 7, .module = Stream::kModule, .object = 1});
         s.write({.kind = Stream::Kind::kRegistrationState,
                  .module = Stream::kModule,
                  .object = 1,
                  .b = static_cast<std::uint64_t>(nmr::RegistrationState::kDeregistering)});
         s.unload_returns();
       }},
      {"begun before Unload in the module's second life",
       {FindingKind::kUnloadPending, "R97"},
       [](Stream& s) {
         s.enter_unload();
         s.unload_returns();
         s.image_goes();
         s.write({.kind = Stream::Kind::kDriverEntryEnter, .module = Stream::kModule});
         s.register_one(1);
         s.deregister(1);
         s.enter_unload();
         s.unload_returns();
       }},
      {"begun before Unload",
       {FindingKind::kUnloadPending, "R97"},
       [](Stream& s) {
         s.register_one(1);
         s.deregister(1);
         s.enter_unload();
         s.unload_returns();
       }},
      {"begun before Unload, and waited for in it", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.deregister(1);
         s.enter_unload();
         s.drain(1);
         s.enter_wait(1);
         s.close(1);
         s.unload_returns();
       }},
      {"one of two is waited for",
       {FindingKind::kUnloadPending, "R95"},
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.enter_unload();
         s.deregister(2);
         s.leave(1);
         s.unload_returns();
       }},
      {"a registration that is left hides what is pending",
       {FindingKind::kUnloadRegistered, "R93"},
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.enter_unload();
         s.deregister(1);
         s.unload_returns();
       }},
      {"while another module's unload has begun",
       {FindingKind::kUnloadPending, "R97"},
       [](Stream& s) {
         s.register_one(1);
         s.enter_unload(Stream::kOtherModule);
         s.deregister(1);
         s.enter_unload();
         s.unload_returns();
       }},
  };
  expect_verdicts(kCases);
}

TEST(UnloadTest, WhenDriverEntryFails) {
  constexpr StreamCase kCases[] = {
      {"nothing was registered", kRight, [](Stream& s) { s.entry_returns(kFailure); }},
      {"everything is undone", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.allocate(1);
         s.free(1);
         s.leave(1);
         s.entry_returns(kFailure);
         s.image_goes();
       }},
      {"a registration is left",
       {FindingKind::kUnloadRegistered, "R24"},
       [](Stream& s) {
         s.register_one(1);
         s.entry_returns(kFailure);
       }},
      {"a registration is kept by a DriverEntry that succeeds", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.entry_returns(kernel::kStatusSuccess);
       }},
      {"a deregistration is not waited for",
       {FindingKind::kUnloadPending, "R25"},
       [](Stream& s) {
         s.register_one(1);
         s.deregister(1);
         s.entry_returns(kFailure);
       }},
      {"memory is left",
       {FindingKind::kMemoryLeak, "R26"},
       [](Stream& s) {
         s.allocate(1);
         s.entry_returns(kFailure);
         s.image_goes();
       }},
      {"a resource is left",
       {FindingKind::kResourceLeak, "R26"},
       [](Stream& s) {
         s.entry_returns(kFailure);
         s.left_over(false);
       }},
      {"a thread runs on",
       {FindingKind::kUnloadRunning, "R26"},
       [](Stream& s) {
         s.entry_returns(kFailure);
         s.left_over(true);
       }},
      {"the failure of another module changes nothing",
       {FindingKind::kMemoryLeak, "R109"},
       [](Stream& s) {
         s.allocate(1);
         s.entry_returns(kFailure, Stream::kOtherModule);
         s.entry_returns(kernel::kStatusSuccess);
         s.enter_unload();
         s.unload_returns();
         s.image_goes();
       }},
  };
  expect_verdicts(kCases);
}

TEST(UnloadTest, WhatIsLeftWhenTheImageGoes) {
  constexpr StreamCase kCases[] = {
      {"nothing", kRight,
       [](Stream& s) {
         s.allocate(1);
         s.free(1);
         s.enter_unload();
         s.unload_returns();
         s.image_goes();
       }},
      {"memory",
       {FindingKind::kMemoryLeak, "R109"},
       [](Stream& s) {
         s.allocate(1);
         s.image_goes();
       }},
      {"memory that is freed after DriverUnload, before the image goes", kRight,
       [](Stream& s) {
         s.allocate(1);
         s.enter_unload();
         s.unload_returns();
         s.free(1);
         s.image_goes();
       }},
      {"another module's memory", kRight,
       [](Stream& s) {
         s.allocate(1, Stream::kOtherModule);
         s.image_goes();
       }},
      {"memory that could not be allocated", kRight,
       [](Stream& s) {
         s.allocate(0);
         s.image_goes();
       }},
      {"a resource", {FindingKind::kResourceLeak, "R109"}, [](Stream& s) { s.left_over(false); }},
      {"something that runs", {FindingKind::kUnloadRunning, "R108"}, [](Stream& s) { s.left_over(true); }},
  };
  expect_verdicts(kCases);
}

TEST(UnloadTest, CausesAreWhereThingsWereMade) {
  Stream stream;
  const std::uint64_t registered = stream.register_one(1);
  stream.unload_returns();
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, registered);

  stream.reset();
  stream.register_one(1);
  const std::uint64_t deregistered = stream.deregister(1);
  stream.unload_returns();
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, deregistered);

  stream.reset();
  stream.allocate(1);
  const std::uint64_t allocated = stream.allocate(2);
  stream.free(1);
  stream.image_goes();
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, allocated);
  EXPECT_EQ(stream.findings()[0].event.object, 2U) << "the block, not the module";
}

TEST(UnloadTest, ForgetsThePreviousExecution) {
  Stream stream;
  stream.register_one(1);
  stream.allocate(1);
  stream.entry_returns(kFailure);
  stream.reset();
  stream.unload_returns();
  stream.image_goes();
  EXPECT_EQ(stream.verdict(), kRight);
  stream.left_over(true);
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kUnloadRunning, "R108"})) << "no DriverEntry has failed";
}

TEST(UnloadTest, TheMostSpecificRuleIsNamed) {
  constexpr StreamCase kCases[] = {
      {"one of two was waited for",
       {FindingKind::kUnloadPending, "R95"},
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.enter_unload();
         s.leave(1);
         s.deregister(2);
         s.unload_returns();
       }},
      {"the one that was waited for is another module's",
       {FindingKind::kUnloadPending, "R91"},
       [](Stream& s) {
         s.register_one(1, nmr::Role::kProvider, Stream::kOtherModule);
         s.register_one(2);
         s.leave(1, Stream::kOtherModule);
         s.enter_unload();
         s.deregister(2);
         s.unload_returns();
       }},
      {"registered when unload had begun",
       {FindingKind::kUnloadRegistered, "R30"},
       [](Stream& s) {
         s.enter_unload();
         s.register_one(1);
         s.unload_returns();
       }},
      {"and ended again", kRight,
       [](Stream& s) {
         s.enter_unload();
         s.register_one(1);
         s.leave(1);
         s.unload_returns();
       }},
      {"its handle was overwritten",
       {FindingKind::kUnloadRegistered, "R28"},
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.breach(kernel::Routine::NmrRegisterProvider, trace::Outcome::kHandleOverwritten, 1);
         s.enter_unload();
         s.leave(2);
         s.unload_returns();
       }},
      {"another's handle was overwritten",
       {FindingKind::kUnloadRegistered, "R93"},
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.breach(kernel::Routine::NmrRegisterProvider, trace::Outcome::kHandleOverwritten, 1);
         s.enter_unload();
         s.leave(1);
         s.unload_returns();
       }},
  };
  expect_verdicts(kCases);
}

TEST(UnloadTest, TwoWaitsAtOnceAreNoted) {
  Stream stream;
  stream.register_one(1);
  stream.deregister(1);
  stream.enter_wait(1);
  EXPECT_EQ(stream.note(), "none");
  stream.enter_wait(1);
  EXPECT_EQ(stream.note(), "A16");
  EXPECT_EQ(stream.verdict(), kRight);
}

}  // namespace
}  // namespace nmrfuzz::contract
