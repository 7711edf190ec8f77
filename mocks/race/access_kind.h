// access_kind.h - how the module's code touches memory, and which two unordered accesses are a data race.
//
//   earlier \ later      plain      volatile   interlocked
//   plain                race       race       race          if one of the two writes
//   volatile             race       -          -
//   interlocked          race       -          -
//
// One exception: a plain read that is aligned and no wider than a machine word, against an interlocked write. It sees
// the old value or the new one, and drivers do it on purpose (a first look at a reference count): no more than a note.
// Interlocked: the Interlocked* routines, ReadAcquire, WriteRelease, the NoFence forms and the compiler's own atomics.
// Volatile accesses do not race with each other, but order nothing: on ARM64 the compiler's default (/volatile:iso)
// gives them no acquire or release. KeMemoryBarrier does, as fences of C11 do (N1570 7.17.4).
#pragma once

#include <array>
#include <cstdint>

namespace nmrfuzz::race {

enum class AccessKind : std::uint8_t { kPlain, kVolatile, kInterlocked };

// A kind and a direction, as one small number: what is kept of an access.
enum class Manner : std::uint8_t {
  kPlainRead,
  kPlainWrite,
  kVolatileRead,
  kVolatileWrite,
  kInterlockedRead,
  kInterlockedWrite
};
inline constexpr unsigned kManners = 6;

constexpr Manner manner_of(AccessKind kind, bool is_write) {
  return static_cast<Manner>(static_cast<unsigned>(kind) * 2 + (is_write ? 1 : 0));
}
constexpr bool is_write(Manner manner) { return (static_cast<unsigned>(manner) & 1) != 0; }
constexpr AccessKind kind_of(Manner manner) { return static_cast<AccessKind>(static_cast<unsigned>(manner) / 2); }

// Whether two accesses of one place, with no order between them, are a race or at least worth a note.
constexpr bool conflicts(Manner one, Manner other) {
  return (is_write(one) || is_write(other)) &&
         (kind_of(one) == AccessKind::kPlain || kind_of(other) == AccessKind::kPlain);
}
// Those that are no more than a note, if the plain one is an aligned word.
constexpr bool is_tolerated(Manner one, Manner other) {
  return (one == Manner::kPlainRead && other == Manner::kInterlockedWrite) ||
         (one == Manner::kInterlockedWrite && other == Manner::kPlainRead);
}

// Whether `later` stands for `earlier`, which is ordered before it: whatever conflicts with the earlier one and comes
// after both conflicts with the later one too, so that the earlier one need not be kept. An exact form of the rule by
// which FastTrack forgets accesses (detector.h).
constexpr bool stands_for(Manner later, Manner earlier) {
  for (unsigned i = 0; i < kManners; ++i) {
    const auto other = static_cast<Manner>(i);
    if (conflicts(earlier, other) &&
        (!conflicts(later, other) || (is_tolerated(later, other) && !is_tolerated(earlier, other)))) {
      return false;
    }
  }
  return true;
}

// stands_for() as bits: bit `earlier` of the row of `later`.
inline constexpr std::array<std::uint8_t, kManners> kStandsFor = [] {
  std::array<std::uint8_t, kManners> rows{};
  for (unsigned later = 0; later < kManners; ++later) {
    for (unsigned earlier = 0; earlier < kManners; ++earlier) {
      if (stands_for(static_cast<Manner>(later), static_cast<Manner>(earlier))) {
        rows[later] = static_cast<std::uint8_t>(rows[later] | 1U << earlier);
      }
    }
  }
  return rows;
}();
// stands_for(), looked up.
[[gnu::always_inline]] inline bool is_stood_for(Manner later, Manner earlier) {
  return (kStandsFor[static_cast<unsigned>(later)] >> static_cast<unsigned>(earlier) & 1) != 0;
}

}  // namespace nmrfuzz::race
