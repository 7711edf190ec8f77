// model_options.h - for tests: what a world means to the reference model.
//
// Source: contract section 6. Switches that are not named here change which right thing happens, not what is right.
#pragma once

#include "nmr/reference_model.h"
#include "nmr/world.h"

namespace nmrfuzz::nmr {

inline ModelOptions::LateRefusal late_refusal_of(const World& world) {
  switch (world.late_refusal) {
    case LateRefusal::kCleanupOnly:
      return ModelOptions::LateRefusal::kCleanupOnly;
    case LateRefusal::kStop:
      return ModelOptions::LateRefusal::kStop;
    case LateRefusal::kDetachProvider:
      break;
  }
  return ModelOptions::LateRefusal::kDetachProvider;
}

inline ModelOptions options_of(const World& world) {
  ModelOptions options;
  options.deregister_succeeds_when_idle = world.deregister_status == DeregisterStatus::kSuccessWhenIdle;
  options.deregister_may_fail = world.deregister_error == DeregisterError::kInjectOnce;
  options.early_complete_is_remembered = world.early_complete == EarlyComplete::kRemember;
  options.null_context_skips_cleanup = world.null_context == NullContext::kSkipCleanup;
  options.drained_before_cleanup = world.drain_point == DrainPoint::kAfterDetachUnsafe;
  options.second_wait_is_tolerated = world.double_wait == DoubleWait::kTolerate;
  options.refused_pairs_are_offered_again = world.reoffer == Reoffer::kOnNewRegistration;
  options.offers_may_follow_register = world.attach_thread == AttachThread::kWorkerAsync;
  options.cleanup_comes_with_wait = world.cleanup_where == CleanupWhere::kAtWait;
  options.bad_completion_stops = world.bad_complete == BadComplete::kReportStop;
  options.late_refusal = late_refusal_of(world);
  return options;
}

}  // namespace nmrfuzz::nmr
