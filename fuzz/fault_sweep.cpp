#include "fuzz/fault_sweep.h"

#include <algorithm>
#include <limits>

namespace nmrfuzz::fuzz {

FaultSweep::FaultSweep(std::uint32_t calls)
    : calls_(std::min<std::uint32_t>(calls, std::numeric_limits<std::uint16_t>::max())) {
  const std::uint64_t all = std::uint64_t{calls_} * (calls_ > 0 ? calls_ - 1 : 0) / 2;
  const std::uint64_t taken = std::min<std::uint64_t>(all, kPairsMaximum);
  pairs_.reserve(taken);
  // Of `all` pairs in order, number k is taken where k * taken / all moves on.
  std::uint64_t number = 0;
  for (std::uint32_t first = 1; first <= calls_; ++first) {
    for (std::uint32_t second = first + 1; second <= calls_; ++second, ++number) {
      if ((number + 1) * taken / all != number * taken / all) {
        pairs_.emplace_back(static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(second));
      }
    }
  }
}

std::optional<FaultSweep::Step> FaultSweep::step(std::uint64_t schedule) const {
  const std::uint64_t alone = std::uint64_t{calls_} * kAlone;
  if (schedule < alone) {
    const auto call = static_cast<std::uint16_t>(1 + schedule / kAlone);
    return Step{{FaultMode::kPlanned, {call, 0}}, schedule % kAlone == 0};
  }
  if (schedule < size()) {
    const auto& [first, second] = pairs_[(schedule - alone) / kTogether];
    return Step{{FaultMode::kPlanned, {first, second}}, (schedule - alone) % kTogether == 0};
  }
  return std::nullopt;
}

}  // namespace nmrfuzz::fuzz
