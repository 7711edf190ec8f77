// states_test.cpp - the tables of what may follow what, against the life cycle that they stand for.
#include "nmr/states.h"

#include <gtest/gtest.h>

#include <vector>

namespace nmrfuzz::nmr {
namespace {

// The states that can be reached from `from` in any number of moves, itself included.
template <class State, std::size_t kStates>
std::vector<bool> reachable(State from) {
  std::vector<bool> reached(kStates);
  std::vector<std::size_t> open = {static_cast<std::size_t>(from)};
  while (!open.empty()) {
    const std::size_t state = open.back();
    open.pop_back();
    if (reached[state]) {
      continue;
    }
    reached[state] = true;
    for (std::size_t to = 0; to < kStates; ++to) {
      if (may_move(static_cast<State>(state), static_cast<State>(to))) {
        open.push_back(to);
      }
    }
  }
  return reached;
}

template <class State, std::size_t kStates>
void expect_all_lead_from_to(State first, State last) {
  const std::vector<bool> reached = reachable<State, kStates>(first);
  for (std::size_t state = 0; state < kStates; ++state) {
    const bool is_last = state == static_cast<std::size_t>(last);
    EXPECT_TRUE(reached[state]) << state;
    EXPECT_TRUE((reachable<State, kStates>(static_cast<State>(state))[static_cast<std::size_t>(last)])) << state;
    EXPECT_FALSE(may_move(static_cast<State>(state), static_cast<State>(state))) << state;
    EXPECT_FALSE(is_last && may_move(last, static_cast<State>(0)));
  }
}

TEST(States, EachLeadsFromTheFirstToTheLast) {
  expect_all_lead_from_to<RegistrationState, kRegistrationStates>(RegistrationState::kNone, RegistrationState::kClosed);
  expect_all_lead_from_to<BindingState, kBindingStates>(BindingState::kOffered, BindingState::kGone);
  expect_all_lead_from_to<DetachProgress, kDetachProgresses>(DetachProgress::kIdle, DetachProgress::kDone);
}

TEST(States, NothingLeavesTheEnd) {
  for (std::size_t to = 0; to < kRegistrationStates; ++to) {
    EXPECT_FALSE(may_move(RegistrationState::kClosed, static_cast<RegistrationState>(to)));
  }
  for (std::size_t to = 0; to < kBindingStates; ++to) {
    EXPECT_FALSE(may_move(BindingState::kGone, static_cast<BindingState>(to)));
  }
  for (std::size_t to = 0; to < kDetachProgresses; ++to) {
    EXPECT_FALSE(may_move(DetachProgress::kDone, static_cast<DetachProgress>(to)));
  }
}

// The moves whose absence guarantees rest on.
TEST(States, WhatMustNotFollow) {
  EXPECT_FALSE(may_move(BindingState::kOffered, BindingState::kAccepted));       // G3: only through the provider
  EXPECT_FALSE(may_move(BindingState::kNegotiating, BindingState::kDetaching));  // G8
  EXPECT_FALSE(may_move(BindingState::kOffered, BindingState::kDetaching));      // G11
  EXPECT_FALSE(may_move(BindingState::kDetaching, BindingState::kCleaning));     // G14: one step decides
  EXPECT_FALSE(may_move(BindingState::kAttached, BindingState::kGone));
  EXPECT_FALSE(may_move(DetachProgress::kIdle, DetachProgress::kDone));  // G10: not without a call
  EXPECT_FALSE(may_move(DetachProgress::kCallingCompleted, DetachProgress::kPending));
  EXPECT_FALSE(may_move(DetachProgress::kCompletedEarly, DetachProgress::kDone));  // G15
  EXPECT_FALSE(may_move(RegistrationState::kDeregistering, RegistrationState::kClosed));
  EXPECT_FALSE(may_move(RegistrationState::kDrained, RegistrationState::kActive));
}

}  // namespace
}  // namespace nmrfuzz::nmr
