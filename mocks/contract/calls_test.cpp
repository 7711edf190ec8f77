#include "contract/calls.h"

#include <gtest/gtest.h>

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using Kind = trace::EventKind;
using nmr::Callback;
using nmr::Role;

constexpr kernel::Status kSuccess = kernel::kStatusSuccess;
constexpr kernel::Status kPending = kernel::kStatusPending;
constexpr kernel::Status kRefused = kernel::kStatusNoInterface;
constexpr Verdict breach(std::string_view rule) { return {FindingKind::kUseAfterDetach, rule}; }

// The module is the client of binding `binding`; the peer that provides has the context with this number.
constexpr std::uint64_t context_of(trace::ObjectNumber binding) { return 10 + binding; }

constexpr trace::ThreadNumber kThread = 3;
constexpr trace::ThreadNumber kOtherThread = 4;

void enter_callback(Stream& s, Callback callback, trace::ObjectNumber binding, trace::ModuleNumber module,
                    trace::ThreadNumber thread = kThread) {
  s.write({.kind = Kind::kCallbackEnter,
           .thread = thread,
           .module = module,
           .object = binding,
           .a = static_cast<std::uint64_t>(callback)});
}

// A peer answers the module's NmrClientAttachProvider.
void ask_provider(Stream& s, trace::ObjectNumber binding, kernel::Status answer) {
  enter_callback(s, Callback::kProviderAttachClient, binding, 0);
  s.callback_returns(Callback::kProviderAttachClient, binding, answer, 3, 0);
  s.write({.kind = Kind::kAttachCallExit,
           .module = Stream::kModule,
           .object = binding,
           .status = Stream::bits(answer),
           .b = answer == kSuccess ? context_of(binding) : 0});
}
void attach_as_client(Stream& s, trace::ObjectNumber binding) {
  ask_provider(s, binding, kSuccess);
  s.callback_returns(Callback::kClientAttachProvider, binding, kSuccess);
}

// A peer asks the module, which provides; its callback is running when this returns.
void be_asked(Stream& s, trace::ObjectNumber binding) {
  s.write({.kind = Kind::kAttachCallEnter, .object = binding, .b = context_of(binding)});
  enter_callback(s, Callback::kProviderAttachClient, binding, Stream::kModule);
}
void attach_as_provider(Stream& s, trace::ObjectNumber binding) {
  be_asked(s, binding);
  s.callback_returns(Callback::kProviderAttachClient, binding, kSuccess, 3);
}

std::uint64_t write_call(Stream& s, Kind kind, trace::ObjectNumber binding, Role role, std::uint64_t context,
                         trace::ThreadNumber thread, trace::ModuleNumber module) {
  return s.write({.kind = kind,
                  .thread = thread,
                  .module = module,
                  .object = binding,
                  .status = static_cast<std::uint32_t>(role),
                  .b = context});
}
std::uint64_t enter_call(Stream& s, trace::ObjectNumber binding, Role role = Role::kClient,
                         trace::ThreadNumber thread = kThread) {
  return write_call(s, Kind::kNpiCallEnter, binding, role, context_of(binding), thread, Stream::kModule);
}
void leave_call(Stream& s, trace::ObjectNumber binding, Role role = Role::kClient,
                trace::ThreadNumber thread = kThread) {
  write_call(s, Kind::kNpiCallExit, binding, role, context_of(binding), thread, Stream::kModule);
}
void call(Stream& s, trace::ObjectNumber binding, Role role = Role::kClient, trace::ThreadNumber thread = kThread) {
  enter_call(s, binding, role, thread);
  leave_call(s, binding, role, thread);
}
void call_with(Stream& s, trace::ObjectNumber binding, std::uint64_t context) {
  write_call(s, Kind::kNpiCallEnter, binding, Role::kClient, context, kThread, Stream::kModule);
  write_call(s, Kind::kNpiCallExit, binding, Role::kClient, context, kThread, Stream::kModule);
}

void detach(Stream& s, trace::ObjectNumber binding, kernel::Status status, Role role = Role::kClient) {
  const Callback callback = role == Role::kClient ? Callback::kClientDetachProvider : Callback::kProviderDetachClient;
  enter_callback(s, callback, binding, Stream::kModule);
  s.callback_returns(callback, binding, status);
}

TEST(CallsTest, BeforeTheAttachmentAndAfterARefusal) {
  expect_verdicts({
      {"client: accepted", kRight, [](Stream& s) { ask_provider(s, 1, kSuccess), call(s, 1); }},
      {"client: never asked", breach("R43"), [](Stream& s) { call(s, 1); }},
      {"client: refused", breach("R43"), [](Stream& s) { ask_provider(s, 1, kRefused), call(s, 1); }},
      {"client: refused, then accepted", kRight,
       [](Stream& s) { ask_provider(s, 1, kRefused), ask_provider(s, 1, kSuccess), call(s, 1); }},
      {"provider: while it is asked", kRight, [](Stream& s) { be_asked(s, 1), call(s, 1, Role::kProvider); }},
      {"provider: accepting", kRight, [](Stream& s) { attach_as_provider(s, 1), call(s, 1, Role::kProvider); }},
      {"provider: never asked", breach("R55"), [](Stream& s) { call(s, 1, Role::kProvider); }},
      {"provider: after it declined", breach("R55"),
       [](Stream& s) {
         be_asked(s, 1);
         s.callback_returns(Callback::kProviderAttachClient, 1, kRefused);
         call(s, 1, Role::kProvider);
       }},
      {"provider: called, then declined", kRight,
       [](Stream& s) {
         be_asked(s, 1);
         call(s, 1, Role::kProvider);
         s.callback_returns(Callback::kProviderAttachClient, 1, kRefused);
       }},
      {"provider: declines in a call", breach("R55"),
       [](Stream& s) {
         be_asked(s, 1);
         enter_call(s, 1, Role::kProvider);
         s.callback_returns(Callback::kProviderAttachClient, 1, kRefused);
       }},
  });
}

TEST(CallsTest, WhenTheOwnSideIsDone) {
  expect_verdicts({
      {"while the detach pends", kRight, [](Stream& s) { attach_as_client(s, 1), detach(s, 1, kPending), call(s, 1); }},
      {"in the detach callback", kRight,
       [](Stream& s) {
         attach_as_client(s, 1);
         enter_callback(s, Callback::kClientDetachProvider, 1, Stream::kModule);
         call(s, 1);
         s.callback_returns(Callback::kClientDetachProvider, 1, kSuccess);
       }},
      {"after STATUS_SUCCESS", breach("R58"),
       [](Stream& s) { attach_as_client(s, 1), detach(s, 1, kSuccess), call(s, 1); }},
      {"after STATUS_SUCCESS, as provider", breach("R58"),
       [](Stream& s) {
         attach_as_provider(s, 1), detach(s, 1, kSuccess, Role::kProvider), call(s, 1, Role::kProvider);
       }},
      {"after the completion", breach("R58"),
       [](Stream& s) { attach_as_client(s, 1), detach(s, 1, kPending), s.complete(Role::kClient, 1), call(s, 1); }},
      {"after a completion inside the callback", breach("R58"),
       [](Stream& s) {
         attach_as_client(s, 1);
         enter_callback(s, Callback::kClientDetachProvider, 1, Stream::kModule);
         s.complete(Role::kClient, 1, nmr::HandleState::kValid, nmr::DetachProgress::kCalling);
         call(s, 1);
       }},
      {"another binding's end", kRight,
       [](Stream& s) { attach_as_client(s, 1), attach_as_client(s, 2), detach(s, 2, kSuccess), call(s, 1); }},
      {"the peer's end", kRight,
       [](Stream& s) {
         attach_as_client(s, 1);
         enter_callback(s, Callback::kProviderDetachClient, 1, 0);
         s.callback_returns(Callback::kProviderDetachClient, 1, kSuccess, 0, 0);
         call(s, 1);
       }},
  });
}

TEST(CallsTest, InProgressWhenTheOwnSideIsDone) {
  expect_verdicts({
      {"pends", kRight, [](Stream& s) { attach_as_client(s, 1), enter_call(s, 1), detach(s, 1, kPending); }},
      {"succeeds", breach("R66"), [](Stream& s) { attach_as_client(s, 1), enter_call(s, 1), detach(s, 1, kSuccess); }},
      {"succeeds, as provider", breach("R66"),
       [](Stream& s) {
         attach_as_provider(s, 1), enter_call(s, 1, Role::kProvider), detach(s, 1, kSuccess, Role::kProvider);
       }},
      {"succeeds behind the call", kRight,
       [](Stream& s) { attach_as_client(s, 1), call(s, 1), detach(s, 1, kSuccess); }},
      {"succeeds in a call to another provider", kRight,
       [](Stream& s) { attach_as_client(s, 1), attach_as_client(s, 2), enter_call(s, 2), detach(s, 1, kSuccess); }},
      {"completes", breach("R71"),
       [](Stream& s) {
         attach_as_client(s, 1), enter_call(s, 1), detach(s, 1, kPending), s.complete(Role::kClient, 1);
       }},
      {"completes after the first of two", breach("R71"),
       [](Stream& s) {
         attach_as_client(s, 1);
         enter_call(s, 1), enter_call(s, 1, Role::kClient, kOtherThread);
         detach(s, 1, kPending);
         leave_call(s, 1);
         s.complete(Role::kClient, 1);
       }},
      {"completes after the last of two", kRight,
       [](Stream& s) {
         attach_as_client(s, 1);
         enter_call(s, 1), enter_call(s, 1, Role::kClient, kOtherThread);
         detach(s, 1, kPending);
         leave_call(s, 1), leave_call(s, 1, Role::kClient, kOtherThread);
         s.complete(Role::kClient, 1);
       }},
  });
}

TEST(CallsTest, TheCallInProgressIsTheCause) {
  Stream s;
  attach_as_client(s, 1);
  attach_as_client(s, 2);
  enter_call(s, 2, Role::kClient, kOtherThread);
  const std::uint64_t entered = enter_call(s, 1);
  detach(s, 1, kSuccess);
  ASSERT_EQ(s.findings().size(), 1U);
  EXPECT_EQ(s.findings().front().cause_number, entered);
  EXPECT_EQ(s.findings().front().event.kind, Kind::kCallbackExit);
}

void detach_both(Stream& s) {
  attach_as_client(s, 1);
  detach(s, 1, kSuccess);
}

TEST(CallsTest, InCleanup) {
  expect_verdicts({
      {"by the callback", breach("R87"),
       [](Stream& s) {
         detach_both(s);
         enter_callback(s, Callback::kClientCleanupBindingContext, 1, Stream::kModule);
         call(s, 1);
       }},
      {"by another thread", breach("R58"),
       [](Stream& s) {
         detach_both(s);
         enter_callback(s, Callback::kClientCleanupBindingContext, 1, Stream::kModule, kOtherThread);
         call(s, 1);
       }},
      {"after the callback", breach("R58"),
       [](Stream& s) {
         detach_both(s);
         enter_callback(s, Callback::kClientCleanupBindingContext, 1, Stream::kModule);
         s.callback_returns(Callback::kClientCleanupBindingContext, 1, kSuccess);
         call(s, 1);
       }},
      {"of another binding, which is attached", kRight,
       [](Stream& s) {
         detach_both(s);
         attach_as_client(s, 2);
         enter_callback(s, Callback::kClientCleanupBindingContext, 1, Stream::kModule);
         call(s, 2);
       }},
  });
}

TEST(CallsTest, ContextsOfOtherBindings) {
  expect_verdicts({
      {"of an attached one", breach("R63"),
       [](Stream& s) { attach_as_client(s, 1), attach_as_client(s, 2), call_with(s, 1, context_of(2)); }},
      {"of one that is done", breach("R63"),
       [](Stream& s) {
         attach_as_client(s, 1), detach(s, 1, kSuccess), attach_as_client(s, 2), call_with(s, 2, context_of(1));
       }},
      {"of one in which the peer is the client", breach("R63"),
       [](Stream& s) { attach_as_client(s, 1), attach_as_provider(s, 2), call_with(s, 1, context_of(2)); }},
      {"NULL, or no context", kRight, [](Stream& s) { attach_as_client(s, 1), call_with(s, 1, 0); }},
      {"a value that is nobody's context", kRight, [](Stream& s) { attach_as_client(s, 1), call_with(s, 1, 99); }},
      {"a value that peers share", kRight,
       [](Stream& s) {
         attach_as_client(s, 1), attach_as_client(s, 2), attach_as_client(s, 3);
         s.write({.kind = Kind::kAttachCallExit, .module = Stream::kModule, .object = 3, .b = context_of(2)});
         call_with(s, 1, context_of(2));
       }},
      {"the own one", kRight,
       [](Stream& s) {
         attach_as_provider(s, 2);
         s.write({.kind = Kind::kAttachCallExit, .object = 2, .b = 20});  // what the module gave to its peer
         attach_as_client(s, 1);
         call_with(s, 1, 20);
       }},
      {"the own one, as client", kRight,
       [](Stream& s) {
         attach_as_client(s, 1);
         s.write({.kind = Kind::kAttachCallEnter, .module = Stream::kModule, .object = 2, .b = 20});
         call_with(s, 1, 20);
       }},
      {"of another module under test, which is called directly", kRight,
       [](Stream& s) {
         attach_as_client(s, 1);
         enter_callback(s, Callback::kProviderAttachClient, 2, Stream::kOtherModule);
         s.callback_returns(Callback::kProviderAttachClient, 2, kSuccess, 3, Stream::kOtherModule);
         s.write({.kind = Kind::kAttachCallExit, .module = Stream::kModule, .object = 2, .b = 20});
         call_with(s, 1, 20);
       }},
  });
}

// The table of a late binding: only the context says which binding is meant.
TEST(CallsTest, SharedTables) {
  const auto call_shared = [](Stream& s, std::uint64_t context, Role role = Role::kClient) {
    write_call(s, Kind::kNpiCallEnter, 0, role, context, kThread, Stream::kModule);
    write_call(s, Kind::kNpiCallExit, 0, role, context, kThread, Stream::kModule);
  };
  static const auto shared = call_shared;
  expect_verdicts({
      {"attached", kRight, [](Stream& s) { attach_as_client(s, 17), shared(s, context_of(17), Role::kClient); }},
      {"done", breach("R58"),
       [](Stream& s) { attach_as_client(s, 17), detach(s, 17, kSuccess), shared(s, context_of(17), Role::kClient); }},
      {"in progress", breach("R66"),
       [](Stream& s) {
         attach_as_client(s, 17);
         write_call(s, Kind::kNpiCallEnter, 0, Role::kClient, context_of(17), kThread, Stream::kModule);
         detach(s, 17, kSuccess);
       }},
      {"over", kRight,
       [](Stream& s) { attach_as_client(s, 17), shared(s, context_of(17), Role::kClient), detach(s, 17, kSuccess); }},
      {"of nobody", kRight,
       [](Stream& s) { attach_as_client(s, 17), detach(s, 17, kSuccess), shared(s, 0, Role::kClient); }},
      {"of the other role", kRight,
       [](Stream& s) { attach_as_provider(s, 17), shared(s, context_of(17), Role::kClient); }},
  });
}

TEST(CallsTest, CallsOfTheEnvironmentAreNotJudged) {
  Stream s;
  write_call(s, Kind::kNpiCallEnter, 1, Role::kClient, 0, kThread, 0);
  write_call(s, Kind::kNpiCallExit, 1, Role::kClient, 0, kThread, 0);
  EXPECT_EQ(s.verdict(), kRight);
}

TEST(CallsTest, AnExecutionForgetsTheOneBefore) {
  Stream s;
  attach_as_client(s, 1);
  enter_call(s, 1);
  s.reset();
  attach_as_client(s, 1);
  detach(s, 1, kSuccess);
  EXPECT_EQ(s.verdict(), kRight);
  s.reset();
  attach_as_client(s, 3);
  call_with(s, 3, context_of(1));
  EXPECT_EQ(s.verdict(), kRight);
  s.reset();
  call(s, 1);
  EXPECT_EQ(s.verdict(), breach("R43"));
}

}  // namespace
}  // namespace nmrfuzz::contract
