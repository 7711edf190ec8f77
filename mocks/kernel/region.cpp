// region.cpp - critical and guarded regions: two counters of the simulated thread.
//
// This kernel delivers no APCs, so regions change nothing but what is checked: each must be left again before the
// module's code returns. No scheduling points: no other thread can tell.
// Sources: documentation pages "Critical Regions and Guarded Regions", "KeEnterCriticalRegion", "KeAreApcsDisabled".
#include <ntddk.h>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {
namespace {

void enter(Routine routine, std::uint16_t ThreadState::* regions) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  kernel.called(routine, 0, ++(kernel.thread_state().*regions));
}

void leave(Routine routine, std::uint16_t ThreadState::* regions) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  if (kernel.thread_state().*regions == 0) {
    kernel.breach(routine, Outcome::kRegionUnbalanced);
    return;
  }
  kernel.called(routine, 0, --(kernel.thread_state().*regions));
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void KeEnterCriticalRegion(void) { enter(Routine::KeEnterCriticalRegion, &ThreadState::critical_regions); }

void KeLeaveCriticalRegion(void) { leave(Routine::KeLeaveCriticalRegion, &ThreadState::critical_regions); }

void KeEnterGuardedRegion(void) { enter(Routine::KeEnterGuardedRegion, &ThreadState::guarded_regions); }

void KeLeaveGuardedRegion(void) { leave(Routine::KeLeaveGuardedRegion, &ThreadState::guarded_regions); }

BOOLEAN KeAreApcsDisabled(void) {
  const ThreadState& state = current_kernel().thread_state();
  return state.critical_regions != 0 || state.guarded_regions != 0 ? TRUE : FALSE;
}

BOOLEAN KeAreAllApcsDisabled(void) {
  Kernel& kernel = current_kernel();
  return kernel.thread_state().guarded_regions != 0 || kernel.irql() >= kApcLevel ? TRUE : FALSE;
}

}  // extern "C"
