// edges.h - which routine of the kernel orders what: the documented happens-before edges, as one table.
//
// An edge is a release by one thread followed by an acquire by another on the same object. What orders more than that,
// or something else than the call's own object, is in happens_before.cpp: waits for several objects, DPC queues, NMR.
#pragma once

#include <cstdint>

#include "kernel/routine.h"
#include "trace/event.h"

namespace nmrfuzz::race {

enum class Edge : std::uint8_t {
  kNone,
  kAcquire,          // the caller comes after whoever released the object, in either way
  kAcquireShared,    // a reader, or a holder of rundown protection: not after others of its like
  kAcquireIfTaken,   // as above, if the call's status is not 0: it tried
  kAcquireIfWaited,  // as above, if the wait was satisfied
  kRelease,          // whoever acquires the object later comes after the caller
  kReleaseShared,
  kBoth,
  kReleaseWithLink,  // kRelease of the object, and of the one in `b`: a timer and its DPC
  kFlush,            // comes after every DPC that has ended
  kFence,            // KeMemoryBarrier
};

// Of a routine's kCall or kReturn event.
Edge edge_of(kernel::Routine routine);

}  // namespace nmrfuzz::race
