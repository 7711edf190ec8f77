// access_observer.h - who is told of accesses to a module's memory that the kernel makes, or brings about, itself.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nmrfuzz::kernel {

// What an interlocked operation orders besides its own place: as acquire, as release.
struct InterlockedOrder {
  bool reads = false;
  bool writes = false;
  bool acquires = false;
  bool releases = false;
};

class AccessObserver {
 public:
  virtual ~AccessObserver() = default;
  // The current thread is about to access `bytes` at `place` in one atomic step. Returns the number of the place.
  virtual std::uint32_t on_interlocked(const void* place, std::size_t bytes, InterlockedOrder order) = 0;
  // The current thread frees the `bytes` at `memory`: nobody may touch them after, or at the same time.
  virtual void on_free(const void* memory, std::size_t bytes) = 0;
  // The memory is about to be used for something else; what was done to it does not matter any more.
  virtual void forget(const void* memory, std::size_t bytes) = 0;
};

}  // namespace nmrfuzz::kernel
