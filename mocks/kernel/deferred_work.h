// deferred_work.h - what DPCs, work items, timer callbacks and system threads have in common: a routine of a module
// that runs later, once, on a simulated thread made for it at the moment of queueing.
//
// The thread is runnable at once; the strategy decides when it runs. What the routine is called with is copied into the
// thread's state (Work), since many drivers free the structure from within the routine.
// States of a Work:  queued (the thread exists) -> entered -> ended;  queued -> taken back (its thread ends silently)
// Each move is an event (kWorkQueued, kWorkStarted, kWorkEnded, kWorkCancelled) with the record's number, the module
// whose routine it is, and a: the record's kind.
#pragma once

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

// Makes the thread that will run `work`; its body has to call begin_work() first. From any thread and from the clock.
// `work.number` is filled in.
ThreadNumber queue_work(Kernel& kernel, Routine callback, schedule::ThreadRole role, schedule::ThreadBody body,
                        Work work, std::uint8_t irql);

// The current thread's work, which is entered from now on; nullptr if it was taken back, or if the record's memory was
// freed in the meantime (the breach was reported there).
const Work* begin_work(Kernel& kernel, Routine callback);

// The current thread's work has returned. No pointer to it is valid any more.
void end_work(Kernel& kernel, Routine callback);

// Takes back the work of `object` that is queued and not entered. False if there is none.
bool take_back_work(Kernel& kernel, Routine callback, ObjectNumber object);

// Blocks until no thread of `role` has work left that was queued up to now; `object`: only that record's, 0 for all.
// Writes the events of the call.
void wait_for_work(Kernel& kernel, Routine routine, schedule::ThreadRole role, ObjectNumber object);

// The record for a structure of deferred work that is being initialised at `address`, and whose number field holds
// `old_number` (anything, if it is fresh memory). A structure that was initialised there before keeps its record, so
// that a timer still finds its DPC; it is a breach if that is queued.
Object& initialise_record(Kernel& kernel, Routine routine, ObjectKind kind, ObjectNumber old_number,
                          const void* address);

}  // namespace nmrfuzz::kernel
