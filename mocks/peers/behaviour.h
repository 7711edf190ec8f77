// behaviour.h - how one peer behaves in one execution: every lawful trouble that a module at the other end can make.
//
// Each field is an enum whose first value is the plainest behaviour. kBehaviourFields is the one table of their
// names and odds; drawing, text form and ladder all read it.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nmrfuzz::peers {

// When it registers.
enum class Arrival : std::uint8_t { kBefore, kConcurrently, kAfter };
// What it says when it is offered a binding (as client), or asked for one (as provider).
enum class Answer : std::uint8_t {
  kAccept,
  kDecline,         // STATUS_NOINTERFACE
  kFail,            // another error (A19)
  kDeclineAtFirst,  // the first question of each visit with STATUS_NOINTERFACE; accepts from then on
};
// How long its attach callback takes.
enum class Attach : std::uint8_t {
  kAtOnce,
  kLate,  // not before everything else has come to rest: a deregistration may overtake it (A28)
};
// What its detach callback does. All but the first return STATUS_PENDING.
enum class Detach : std::uint8_t {
  kSucceed,
  kCompleteInside,      // the callback itself completes, before it returns (A9)
  kCompleteFromThread,  // another thread, at any time: before the callback returns, before Deregister does, in the wait
  kCompleteFromDpc,     // as above, at DISPATCH_LEVEL
  kCompleteAtRest,      // when nothing else can go on: all waits have begun
  kCompleteAfterNext,   // after the detach callback of another binding has been called, or at rest
};
// When it deregisters.
enum class Departure : std::uint8_t {
  kAfterModule,
  kAtOnce,
  kAtRest,
  kDuringAttach,  // while it is being attached: another thread of it deregisters
};
// The IRQL at which it calls Deregister.
enum class DepartureLevel : std::uint8_t { kPassive, kDispatch };
// How often it comes, where it departs by itself.
enum class Visits : std::uint8_t { kOne, kTwo, kThree };

struct Behaviour {
  Arrival arrival = Arrival::kBefore;
  Answer answer = Answer::kAccept;
  Attach attach = Attach::kAtOnce;
  Detach first_detach = Detach::kSucceed;  // of its first binding
  Detach later_detach = Detach::kSucceed;  // of all others
  Departure departure = Departure::kAfterModule;
  DepartureLevel departure_level = DepartureLevel::kPassive;  // default where departure is kAfterModule, as is:
  Visits visits = Visits::kOne;

  bool operator==(const Behaviour&) const = default;
};

struct Alternative {
  std::string_view name;
  std::uint8_t weight;  // its odds among the field's alternatives
};

// A behaviour as numbers: one a field, in the order of kBehaviourFields.
using BehaviourValues = std::array<std::uint8_t, sizeof(Behaviour)>;
inline BehaviourValues values_of(const Behaviour& behaviour) { return std::bit_cast<BehaviourValues>(behaviour); }
inline Behaviour behaviour_of(const BehaviourValues& values) { return std::bit_cast<Behaviour>(values); }

// One field of Behaviour.
struct BehaviourField {
  std::string_view name;
  std::span<const Alternative> alternatives;  // in the order of the enum
  bool only_if_it_departs;                    // stays at its first alternative for a peer that departs after the module

  // Whether the field may have another value than its first one in a behaviour with these values.
  bool applies(const BehaviourValues& values) const {
    return !only_if_it_departs || values[offsetof(Behaviour, departure)] != 0;
  }
};

inline constexpr Alternative kArrivals[] = {{"before", 3}, {"concurrently", 3}, {"after", 2}};
inline constexpr Alternative kAnswers[] = {{"accept", 10}, {"decline", 1}, {"fail", 1}, {"decline-at-first", 1}};
inline constexpr Alternative kAttaches[] = {{"at-once", 5}, {"late", 1}};
inline constexpr Alternative kDetaches[] = {
    {"succeed", 4},           {"complete-inside", 3},  {"complete-from-thread", 4},
    {"complete-from-dpc", 4}, {"complete-at-rest", 1}, {"complete-after-next", 1}};
inline constexpr Alternative kDepartures[] = {
    {"after-module", 5}, {"at-once", 4}, {"at-rest", 4}, {"during-attach", 1}};
inline constexpr Alternative kLevels[] = {{"passive", 1}, {"dispatch", 1}};
inline constexpr Alternative kVisits[] = {{"1", 3}, {"2", 2}, {"3", 1}};

// One row for each byte of Behaviour.
inline constexpr std::array<BehaviourField, sizeof(Behaviour)> kBehaviourFields = {{
    {"arrival", kArrivals, false},
    {"answer", kAnswers, false},
    {"attach", kAttaches, false},
    {"first-detach", kDetaches, false},
    {"later-detach", kDetaches, false},
    {"departure", kDepartures, false},
    {"departure-level", kLevels, true},
    {"visits", kVisits, true},
}};

}  // namespace nmrfuzz::peers
