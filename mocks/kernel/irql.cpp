// irql.cpp - KeGetCurrentIrql, KeRaiseIrql, KeLowerIrql: the level is an attribute of the simulated thread.
//
// Raising and lowering are no scheduling points: no other thread can tell, since any runnable thread may run whatever
// the levels are.
#include <ntddk.h>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {
namespace {

void raise(Routine routine, std::uint8_t level) {
  Kernel& kernel = current_kernel();
  if (level < kernel.irql()) {
    kernel.breach(routine, Outcome::kIrqlRaisedByLower, 0, kernel.irql(), level);
  }
  kernel.set_irql(level);
  kernel.called(routine, 0, 0, level);
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

KIRQL KeGetCurrentIrql(void) { return current_kernel().irql(); }

KIRQL KfRaiseIrql(KIRQL NewIrql) {
  const KIRQL old = current_kernel().irql();
  raise(Routine::KfRaiseIrql, NewIrql);
  return old;
}

KIRQL KeRaiseIrqlToDpcLevel(void) {
  const KIRQL old = current_kernel().irql();
  raise(Routine::KeRaiseIrqlToDpcLevel, kDispatchLevel);
  return old;
}

VOID KeLowerIrql(KIRQL NewIrql) {
  Kernel& kernel = current_kernel();
  if (NewIrql > kernel.irql()) {
    kernel.breach(Routine::KeLowerIrql, Outcome::kIrqlRaisedByLower, 0, kernel.irql(), NewIrql);
  }
  kernel.set_irql(NewIrql);
  kernel.called(Routine::KeLowerIrql, 0, 0, NewIrql);
}

}  // extern "C"
