// reference_model_test.cpp - that every event of a life matters, that worlds differ, and what the end of one shows.
#include "nmr/reference_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "nmr/reference_model_lives.h"

namespace nmrfuzz::nmr {
namespace {

using lives::Edited;
using lives::Event;
using lives::EventKind;
using lives::judge;
using lives::Life;
using lives::named;
using lives::Stream;
using R = RegistrationState;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr auto kClientDetach = static_cast<std::uint64_t>(Callback::kClientDetachProvider);

// --- Worlds: what is lawful in one is a fault in another ------------------------------------------------------------------

TEST(ReferenceModel, RejectsVariantsOfOtherWorlds) {
  for (const std::string name : {"completed_too_early", "offered_again", "offered_on_arrival", "attach_on_worker",
                                 "null_context_skipped", "late_refusal_cleans_up_only", "success_when_idle",
                                 "deregister_fails_once", "second_wait", "second_wait_taken_as_good",
                                 "wait_taken_as_good_when_idle", "cleanup_never_asked_for", "drained_before_cleanup"}) {
    EXPECT_THAT(judge(named(name).events(), {}), Not(IsEmpty())) << name;
  }
  EXPECT_THAT(judge(named("completed_early").events(), {.early_complete_is_remembered = false}), Not(IsEmpty()));
  EXPECT_THAT(judge(named("null_context").events(), {.null_context_skips_cleanup = true}), Not(IsEmpty()));
}

// --- Every event matters ------------------------------------------------------------------------------------------------

// Not of a life that was stopped, and not a completion that was refused: nothing follows from it.
bool is_relevant(const Life& life, const Event& event) {
  return life.name != "late_refusal_stops" && life.name != "stopped_by_completion" &&
         !(event.kind == EventKind::kComplete && event.a != 0);
}

TEST(ReferenceModel, RejectsALifeWithAnyEventMissing) {
  for (const Life& life : lives::all()) {
    const std::vector<Event> events = life.events();
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (!is_relevant(life, events[i])) {
        continue;
      }
      Edited edited(events);
      edited.erase(i);
      EXPECT_THAT(judge(edited.events, life.options), Not(IsEmpty()))
          << life.name << " without event " << i << " of kind " << static_cast<int>(events[i].kind);
    }
  }
}

TEST(ReferenceModel, RejectsALifeWithAnyEventTwice) {
  for (const Life& life : lives::all()) {
    const std::vector<Event> events = life.events();
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (!is_relevant(life, events[i])) {
        continue;
      }
      Edited edited(events);
      edited.insert(i, {events[i]});
      EXPECT_THAT(judge(edited.events, life.options), Not(IsEmpty()))
          << life.name << " with event " << i << " twice, of kind " << static_cast<int>(events[i].kind);
    }
  }
}

TEST(ReferenceModel, RejectsALifeWithAnyEventOfAnotherObject) {
  for (const Life& life : lives::all()) {
    const std::vector<Event> events = life.events();
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (!is_relevant(life, events[i])) {
        continue;
      }
      Edited edited(events);
      edited[i].object += 40;
      EXPECT_THAT(judge(edited.events, life.options), Not(IsEmpty()))
          << life.name << " with another object in event " << i << " of kind " << static_cast<int>(events[i].kind);
    }
  }
}

// --- The end --------------------------------------------------------------------------------------------------------------

// All through, all claimed, and yet the waiter sleeps: only a deadlock can show it.
TEST(ReferenceModel, SeesInADeadlockThatAWaitIsOverdue) {
  Edited edited(named("pending").events());
  const std::size_t drained = edited.claim(R::kDrained, 2);
  edited.erase(drained, edited.events.size() - drained);
  EXPECT_THAT(judge(edited.events, {}, false), IsEmpty());
  edited.write(drained, [](Stream& s) { s.plain(EventKind::kDeadlock); });
  EXPECT_THAT(judge(edited.events, {}, false),
              ElementsAre(HasSubstr("G20, G22: the wait for 2"), HasSubstr("registration 2 was never drained")));
}

// A module that never completes deadlocks by its own fault.
TEST(ReferenceModel, DoesNotBlameTheRegistrarForAModulesDeadlock) {
  Edited edited(named("pending").events());
  const std::size_t completion = edited.at(EventKind::kComplete);
  edited.erase(completion, edited.events.size() - completion);
  edited.write(completion, [](Stream& s) { s.plain(EventKind::kDeadlock); });
  EXPECT_THAT(judge(edited.events, {}, false), IsEmpty());

  // Nor for one whose bad status was taken as a promise to complete.
  Edited promised(named("bad_detach_status_pends").events());
  const std::size_t kept = promised.at(EventKind::kComplete);
  promised.erase(kept, promised.events.size() - kept);
  promised.write(kept, [](Stream& s) {
    s.detaches(Role::kProvider, 1).deregister_exit(2).wait_enter(Role::kClient, 2, 1).plain(EventKind::kDeadlock);
  });
  EXPECT_THAT(judge(promised.events, {}, false), IsEmpty());

  // Nor for one that waits in its own detach callback: the provider cannot be told yet.
  Edited inside(named("simple").events());
  const std::size_t exit = inside.exit(kClientDetach);
  inside.erase(exit, inside.events.size() - exit);
  inside.write(exit, [](Stream& s) { s.plain(EventKind::kDeadlock); });
  EXPECT_THAT(judge(inside.events, {}, false), IsEmpty());
}

// --- The class ------------------------------------------------------------------------------------------------------------

TEST(ReferenceModel, ReadsARecorderAndNumbersItsEvents) {
  const auto ring = std::make_unique<trace::EventRing>();
  trace::Recorder recorder(*ring);
  ReferenceModel model;
  model.observe(recorder);
  recorder.write({.kind = EventKind::kSwitch});  // of no interest, but it has a number
  recorder.write({.kind = EventKind::kOffer, .object = 1, .a = 2, .b = 1});
  EXPECT_THAT(model.disagreements(), ElementsAre(HasSubstr("event 1: G1: binding 1")));
  for (const Event& event : named("simple").events()) {
    recorder.write(event);
  }
  model.finish(true);
  EXPECT_EQ(model.disagreements().size(), 1U);
  recorder.unsubscribe(model);
}

TEST(ReferenceModel, ForgetsAtReset) {
  ReferenceModel model({.second_wait_is_tolerated = true});
  for (const std::string name : {"simple", "pending", "both_leave"}) {
    for (const Event& event : named(name).events()) {
      model.on_event(event);
    }
    model.finish(true);
    EXPECT_THAT(model.disagreements(), IsEmpty()) << name;
    model.on_event({.kind = EventKind::kOffer, .object = 1});
    model.on_event({.kind = EventKind::kDeadlock});
    model.reset({});
  }
  // No deadlock is remembered, by which a registration that is left open could be judged.
  std::vector<Event> cut = named("never_completes").events();
  cut.resize(cut.size() - 2);
  for (const Event& event : cut) {
    model.on_event(event);
  }
  model.finish(false);
  EXPECT_THAT(model.disagreements(), IsEmpty());
}

TEST(ReferenceModel, StopsReportingAfterAHundred) {
  ReferenceModel model;
  for (int i = 0; i < 1000; ++i) {
    model.on_event({.kind = EventKind::kOffer, .object = 1, .a = 2, .b = 1});
  }
  EXPECT_EQ(model.disagreements().size(), 100U);
}

}  // namespace
}  // namespace nmrfuzz::nmr
