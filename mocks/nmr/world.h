// world.h - the points on which NMR's documentation is silent, each as a named switch with named variants.
//
// A world is one choice for every switch. `windows` is the most faithful reading; `any` lets each execution draw among
// the lawful variants; variants that are unproven or deliberately hostile exist by name only. A module has to be right
// in every world that `any` draws. Numbers A1.. are those of the contract's list of silent points. A20 and A30 have no
// variants. A switch is appended behind the others, a variant behind its switch's: recorded decisions keep their
// meaning.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace nmrfuzz::nmr {

enum class DeregisterStatus : std::uint8_t { kPending, kSuccessWhenIdle };
enum class AttachThread : std::uint8_t { kCaller, kWorkerThenWait, kWorkerAsync };
enum class DetachOrder : std::uint8_t { kOwnFirst, kClientFirst, kProviderFirst, kPeerFirst, kOverlap };
enum class DetachIrql : std::uint8_t { kCaller, kDispatch };
enum class DetachThread : std::uint8_t { kCaller, kWorker };
enum class FailOut : std::uint8_t { kUntouched, kNull, kPoison };
enum class HandleStore : std::uint8_t { kBeforeOffers, kAfterOffers };
enum class CleanupWhere : std::uint8_t { kInline, kWorker, kAtWait, kDispatch };
enum class EarlyComplete : std::uint8_t { kRemember, kBadCall };
enum class AttachRetry : std::uint8_t { kAnyFailure, kNoInterfaceOnly, kNone };
enum class LateRefusal : std::uint8_t { kDetachProvider, kCleanupOnly, kStop };
enum class BindingOrder : std::uint8_t { kFifo, kLifo, kShuffled };
enum class DetachFanout : std::uint8_t { kSerial, kParallel };
enum class DoubleWait : std::uint8_t { kReport, kTolerate };
enum class NullContext : std::uint8_t { kCall, kSkipCleanup };
enum class CleanupOrder : std::uint8_t { kClientFirst, kProviderFirst, kOwnFirst };
enum class DeregisterError : std::uint8_t { kNone, kInjectOnce };
enum class LateDetachThread : std::uint8_t { kAttacher, kWorker, kDeregisterer };
enum class Reoffer : std::uint8_t { kNever, kOnNewRegistration };
enum class DrainPoint : std::uint8_t { kAfterCleanup, kAfterDetachUnsafe };
enum class CheckSizes : std::uint8_t { kReport, kRefuse };
enum class BadComplete : std::uint8_t { kReportContinue, kReportStop };
enum class EarlyCalls : std::uint8_t { kAllow, kProvoke };
enum class CharacteristicsUse : std::uint8_t { kInPlace, kInPlaceNoHash };
enum class InsideComplete : std::uint8_t { kAllow, kStrict };
enum class Reentry : std::uint8_t { kAllow, kStrictNote };
enum class NullDispatch : std::uint8_t { kAllow, kStrict };
enum class Decline : std::uint8_t { kAnyError, kStrict };
enum class SameStructure : std::uint8_t { kNote, kReport };
enum class CallsAfterDetach : std::uint8_t { kUntilDone, kNote };

struct World {
  // What the registrar does: read by its steps.
  DeregisterStatus deregister_status = DeregisterStatus::kPending;
  AttachThread attach_thread = AttachThread::kCaller;
  DetachOrder detach_order = DetachOrder::kOwnFirst;
  DetachIrql detach_irql = DetachIrql::kCaller;
  DetachThread detach_thread = DetachThread::kCaller;
  FailOut fail_out = FailOut::kUntouched;
  HandleStore handle_store = HandleStore::kBeforeOffers;
  CleanupWhere cleanup_where = CleanupWhere::kInline;
  EarlyComplete early_complete = EarlyComplete::kRemember;
  AttachRetry attach_retry = AttachRetry::kAnyFailure;
  LateRefusal late_refusal = LateRefusal::kDetachProvider;
  BindingOrder binding_order = BindingOrder::kFifo;
  DetachFanout detach_fanout = DetachFanout::kSerial;
  DoubleWait double_wait = DoubleWait::kReport;
  NullContext null_context = NullContext::kCall;
  CleanupOrder cleanup_order = CleanupOrder::kClientFirst;
  DeregisterError deregister_error = DeregisterError::kNone;
  LateDetachThread late_detach_thread = LateDetachThread::kAttacher;
  Reoffer reoffer = Reoffer::kNever;
  DrainPoint drain_point = DrainPoint::kAfterCleanup;
  CheckSizes check_sizes = CheckSizes::kReport;
  BadComplete bad_complete = BadComplete::kReportContinue;
  // What the modules at the other end do: for the peers.
  EarlyCalls early_calls = EarlyCalls::kAllow;
  // How strictly a module is judged: for the rules; nothing that a module can see depends on them.
  CharacteristicsUse characteristics_use = CharacteristicsUse::kInPlace;
  InsideComplete inside_complete = InsideComplete::kAllow;
  Reentry reentry = Reentry::kAllow;
  NullDispatch null_dispatch = NullDispatch::kAllow;
  Decline decline = Decline::kAnyError;
  SameStructure same_structure = SameStructure::kNote;
  CallsAfterDetach calls_after_detach = CallsAfterDetach::kUntilDone;

  bool operator==(const World&) const = default;
};

// One variant of a switch.
struct Variant {
  std::string_view name;
  bool drawn;  // whether `any` may choose it
  std::string_view meaning;
};

// One switch: its name, its silent point, the question it answers, its variants in the order of the enum.
struct Switch {
  std::string_view name;
  std::string_view point;
  std::string_view question;
  std::span<const Variant> variants;
  std::uint8_t& (*field)(World&);
};

std::span<const Switch> switches();

// Replaces one switch of `world` as "name=variant" says. Returns what is wrong with the text, nothing if it was
// applied.
std::optional<std::string> apply(World& world, std::string_view assignment);

// "name=variant ..." for each switch that differs from the windows world; "windows" if none does.
std::string text_of(const World& world);

// Draws a world: `choose(n)` answers a number below n for each switch with several lawful variants.
template <class Choose>
World draw_world(Choose choose) {
  World world;
  for (const Switch& each : switches()) {
    std::uint32_t drawn = 0;
    for (const Variant& variant : each.variants) {
      drawn += variant.drawn ? 1 : 0;
    }
    std::uint32_t left = drawn > 1 ? choose(drawn) : 0;
    for (std::size_t i = 0; i < each.variants.size(); ++i) {
      if (each.variants[i].drawn && left-- == 0) {
        each.field(world) = static_cast<std::uint8_t>(i);
        break;
      }
    }
  }
  return world;
}

}  // namespace nmrfuzz::nmr
