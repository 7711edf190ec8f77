// happens_before.h - who comes after whom in the execution in force, from the event stream.
//
// Reads the events of locks, waits, deferred work, threads and NMR, and keeps one vector clock for each thread and one
// for each thing that orders threads. What orders: edges.h has the routines; besides these
//   a thread's start after its creator (PsCreateSystemThread, a queued work item or DPC), waits for a thread's end;
//   a DPC after whoever queued it or set its timer, and after its own previous run, unless they overlap;
//   NMR's own order (contract G28): Register and Deregister before the callbacks of that registration; on a binding,
//   each callback after those that have returned and after what was completed; the return of a wait after all of them;
//   at DISPATCH_LEVEL, what ran before on the same processor, if the thread asked which one it is.
// Peers, loaders and the registrar's threads inherit nothing from who started them: on a real system they run by
// themselves. Where the stream does not tell, an edge too many is taken: an edge too few would be a false alarm.
//
// Thread safety: none. No allocation during an execution after the tables have grown to its size.
#pragma once

#include <cstdint>
#include <vector>

#include "race/edges.h"
#include "race/vector_clock.h"
#include "schedule/scheduler.h"
#include "trace/recorder.h"

namespace nmrfuzz::race {

class HappensBefore final : public trace::Observer {
 public:
  // Subscribes to what it reads. `scheduler` outlives it.
  explicit HappensBefore(schedule::Scheduler& scheduler);
  ~HappensBefore() override;
  HappensBefore(const HappensBefore&) = delete;
  HappensBefore& operator=(const HappensBefore&) = delete;

  void reset();
  void on_event(const trace::Event& event) override;

  // What a thread knows of the others. `slot` is its own component.
  struct ThreadClock {
    VectorClock known;
    Slot slot = 0;
    bool has_fence = false;       // known_at_fence counts
    bool has_read_clock = false;  // read_since_fence counts
    bool asked_processor = false;
    std::uint32_t processor = 0;
  };
  const ThreadClock& thread(trace::ThreadNumber number) const { return threads_[number]; }
  Clock now(const ThreadClock& thread) const { return thread.known.components[thread.slot]; }

  // Whether the moment `clock` of `slot` is before all that `thread` does from now on.
  static bool is_before(Slot slot, Clock clock, const ThreadClock& thread) {
    return clock <= thread.known.components[slot];
  }

  // The current thread reads or writes the place with that number atomically. kInterlocked with `orders`: acquires
  // (reads) and releases (writes). Without, and for volatile accesses: only together with KeMemoryBarrier.
  void reads_place(std::uint32_t place, bool orders);
  void writes_place(std::uint32_t place, bool orders);

 private:
  struct Published {
    VectorClock clock;
    std::uint32_t execution = 0;  // the clock is empty unless it is of this one
  };
  // What of a kernel object, binding, ... is a clock of its own.
  using Table = std::vector<Published>;

  ThreadClock& current() { return threads_[scheduler_.current().number]; }
  Published& grown(Table& table, std::size_t index);
  void acquire(Table& table, std::size_t index);
  void release(Table& table, std::size_t index);
  void acquire_object(trace::ObjectNumber object);
  void advance(ThreadClock& thread) { ++thread.known.components[thread.slot]; }

  void on_call(const trace::Event& event);
  void on_registrar_event(const trace::Event& event);
  void start_thread(const trace::Event& event);
  void end_work(const trace::Event& event);
  void take_slot(ThreadClock& thread);
  void on_processor(const trace::Event& event);
  void leave_processor(ThreadClock& thread);
  void fence();

  schedule::Scheduler& scheduler_;
  std::vector<ThreadClock> threads_;      // by thread number
  std::vector<VectorClock> at_fence_;     // by thread number: what was known at the latest barrier
  std::vector<VectorClock> since_fence_;  // by thread number: what was read since
  Table objects_;                         // two for each kernel object: released, and released by sharers
  Table registrations_;                   // two for each: begun (Register, Deregister), done (callbacks, completions)
  Table bindings_;
  Table places_;
  Table processors_;
  Table dpcs_ended_;  // one
  struct Parties {
    trace::ObjectNumber client = 0;
    trace::ObjectNumber provider = 0;
  };
  std::vector<Parties> parties_;  // by binding
  std::vector<Slot> free_slots_;  // of threads that have ended; taken only when there are no fresh ones
  std::size_t width_ = 1;         // slots in use so far; slot 0 is the clock's, which orders nothing
  std::uint32_t execution_ = 1;
};

}  // namespace nmrfuzz::race
