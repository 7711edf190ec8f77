#include "contract/deadlock.h"

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using kernel::Routine;
using nmr::Callback;
using nmr::DetachProgress;
using Kind = Stream::Kind;

void wait_for(Stream& s, trace::ThreadNumber thread, trace::ObjectNumber registration) {
  s.write({.kind = Kind::kWaitEnter, .thread = thread, .module = 1, .object = registration});
  s.write({.kind = Kind::kBlock, .thread = thread, .object = 90});
}
void call(Stream& s, trace::ThreadNumber thread, Routine routine, trace::ObjectNumber object) {
  s.write({.kind = Kind::kCall, .thread = thread, .routine = Stream::of(routine), .module = 1, .object = object});
}
void block(Stream& s, trace::ThreadNumber thread, trace::ObjectNumber object) {
  s.write({.kind = Kind::kBlock, .thread = thread, .object = object});
}
void deadlock(Stream& s) { s.write({.kind = Kind::kDeadlock}); }

constexpr Verdict dead(std::string_view rule) { return {FindingKind::kDeadlock, rule}; }

TEST(DeadlockTest, RulesThatTheStreamProves) {
  constexpr StreamCase kCases[] = {
      {"a wait inside a callback of the same registration", dead("R104"),
       [](Stream& s) {
         s.offer(4, 1, 2);
         s.enter_callback(Callback::kClientDetachProvider, 4, 3);
         wait_for(s, 3, 1);
         deadlock(s);
       }},
      {"a wait inside a callback of another registration", dead("R79"),
       [](Stream& s) {
         s.offer(4, 1, 2);
         s.enter_callback(Callback::kClientDetachProvider, 4, 3);
         wait_for(s, 3, 7);
         deadlock(s);
       }},
      {"a wait after the callback", dead(""),
       [](Stream& s) {
         s.offer(4, 1, 2);
         s.enter_callback(Callback::kClientDetachProvider, 4, 3);
         s.write({.kind = Kind::kCallbackExit, .thread = 3, .module = 1, .object = 4, .a = 1});
         wait_for(s, 3, 1);
         deadlock(s);
       }},
      {"a lock held across the wait that a cleanup needs", dead("R105"),
       [](Stream& s) {
         call(s, 3, Routine::ExAcquireFastMutex, 8);
         wait_for(s, 3, 1);
         s.enter_callback(Callback::kClientCleanupBindingContext, 4, 5);
         block(s, 5, 8);
         deadlock(s);
       }},
      {"a lock taken inside of the wait", dead(""),
       [](Stream& s) {
         s.write({.kind = Kind::kWaitEnter, .thread = 3, .module = 1, .object = 1});
         call(s, 3, Routine::ExAcquireFastMutex, 8);
         block(s, 3, 91);
         s.enter_callback(Callback::kClientCleanupBindingContext, 4, 5);
         block(s, 5, 8);
         deadlock(s);
       }},
      {"a lock that was released", dead("R86"),
       [](Stream& s) {
         call(s, 3, Routine::ExAcquireFastMutex, 8);
         call(s, 3, Routine::ExReleaseFastMutex, 8);
         wait_for(s, 3, 1);
         s.enter_callback(Callback::kClientCleanupBindingContext, 4, 5);
         block(s, 5, 8);
         deadlock(s);
       }},
      {"an attach callback that waits", dead("R57"),
       [](Stream& s) {
         s.write({.kind = Kind::kRegisterEnter, .thread = 3, .module = 1, .object = 1});
         s.enter_callback(Callback::kProviderAttachClient, 4, 3);
         call(s, 3, Routine::KeWaitForSingleObject, 8);
         block(s, 3, 8);
         deadlock(s);
       }},
      {"while another thread waits that might end it", dead(""),
       [](Stream& s) {
         call(s, 6, Routine::KeWaitForSingleObject, 9);
         block(s, 6, 9);
         s.enter_callback(Callback::kProviderAttachClient, 4, 3);
         call(s, 3, Routine::KeWaitForSingleObject, 8);
         block(s, 3, 8);
         deadlock(s);
       }},
      {"a callback of a peer that waits", dead(""),
       [](Stream& s) {
         s.enter_callback(Callback::kClientDetachProvider, 4, 3, 0, 0);
         block(s, 3, 8);
         deadlock(s);
       }},
      {"a thread that has gone on since", dead(""),
       [](Stream& s) {
         s.enter_callback(Callback::kClientDetachProvider, 4, 3);
         block(s, 3, 8);
         call(s, 3, Routine::KeSetEvent, 7);
         deadlock(s);
       }},
      {"a completion that is owed", dead("R68"),
       [](Stream& s) {
         s.move_side(1, DetachProgress::kCalling, DetachProgress::kPending);
         wait_for(s, 3, 1);
         deadlock(s);
       }},
  };
  expect_verdicts(kCases);
}

}  // namespace
}  // namespace nmrfuzz::contract
