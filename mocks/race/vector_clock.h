// vector_clock.h - vector clocks: what of each thread's past has happened before a point.
//
// C. Fidge: Timestamps in Message-Passing Systems That Preserve the Partial Ordering, 1988; F. Mattern: Virtual Time
// and Global States of Distributed Systems, 1989. A component belongs to a slot; each thread of an execution has one.
// Fixed size, so that nothing is allocated; only the first `width` components are looked at.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace nmrfuzz::race {

using Slot = std::uint16_t;
using Clock = std::uint32_t;

// Threads beyond that many, in one execution, take over slots of those that have ended: races with these are missed.
inline constexpr std::size_t kSlots = 64;

struct VectorClock {
  std::array<Clock, kSlots> components{};

  void join(const VectorClock& other, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) {
      components[i] = std::max(components[i], other.components[i]);
    }
  }
  void clear(std::size_t width) { std::fill_n(components.begin(), width, 0); }
};

}  // namespace nmrfuzz::race
