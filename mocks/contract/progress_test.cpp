#include "contract/progress.h"

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using nmr::DetachProgress;
using Kind = Stream::Kind;

TEST(ProgressTest, DeadlocksAndLivelocks) {
  constexpr StreamCase kCases[] = {
      {"an execution that ends", kRight, [](Stream& s) { s.write({.kind = Kind::kEnd}); }},
      {"a deadlock", {FindingKind::kDeadlock, ""}, [](Stream& s) { s.write({.kind = Kind::kDeadlock, .a = 2}); }},
      {"a livelock", {FindingKind::kLivelock, ""}, [](Stream& s) { s.write({.kind = Kind::kStepLimit, .a = 9}); }},
      {"a deadlock while the module owes a completion",
       {FindingKind::kDeadlock, "R68"},
       [](Stream& s) {
         s.move_side(1, DetachProgress::kCalling, DetachProgress::kPending);
         s.write({.kind = Kind::kDeadlock});
       }},
      {"one of two completions is owed",
       {FindingKind::kDeadlock, "R68"},
       [](Stream& s) {
         s.move_side(1, DetachProgress::kCalling, DetachProgress::kPending);
         s.move_side(2, DetachProgress::kCalling, DetachProgress::kPending);
         s.move_side(1, DetachProgress::kPending, DetachProgress::kDone);
         s.write({.kind = Kind::kDeadlock});
       }},
      {"none is owed any more",
       {FindingKind::kDeadlock, ""},
       [](Stream& s) {
         s.move_side(1, DetachProgress::kCalling, DetachProgress::kPending);
         s.move_side(1, DetachProgress::kPending, DetachProgress::kDone);
         s.write({.kind = Kind::kDeadlock});
       }},
      {"a peer owes one",
       {FindingKind::kDeadlock, ""},
       [](Stream& s) {
         s.move_side(1, DetachProgress::kCalling, DetachProgress::kPending, 0);
         s.write({.kind = Kind::kDeadlock});
       }},
  };
  expect_verdicts(kCases);
}

TEST(ProgressTest, ForgetsThePreviousExecution) {
  Stream stream;
  stream.move_side(1, DetachProgress::kCalling, DetachProgress::kPending);
  stream.reset();
  stream.write({.kind = Kind::kDeadlock});
  EXPECT_EQ(stream.verdict(), (Verdict{FindingKind::kDeadlock, ""}));
}

}  // namespace
}  // namespace nmrfuzz::contract
