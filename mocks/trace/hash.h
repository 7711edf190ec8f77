// hash.h - the trace hash: two 64 x 64 -> 128 bit multiplications an event, one where it has no parameters.
//
// An event is mixed by itself with wyhash's folded multiplications (Wang Yi, 2019), then added to the rotated sum, as
// in MurmurHash3 (Austin Appleby, 2011): events wait for their predecessors only in the short second step. The
// constants are wyhash's. Not cryptographic: it tells two interleavings apart, it does not defend against anybody.
#pragma once

#include <bit>
#include <cstdint>

#include "trace/event.h"

namespace nmrfuzz::trace {

using TraceHash = std::uint64_t;

inline constexpr TraceHash kEmptyHash = 0x9e3779b97f4a7c15;

// Both halves of a product.
inline std::uint64_t folded_product(std::uint64_t left, std::uint64_t right) {
  const auto product = static_cast<unsigned __int128>(left) * right;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// The hash of a stream that has hash `before` and is then followed by the event of these words.
[[gnu::always_inline]] inline TraceHash extend(TraceHash before, const EventWords& words) {
  // Mostly `a` and `b` are constants where the event is made, and so is their product.
  const std::uint64_t mixed = folded_product(words[0] ^ 0xa0761d6478bd642f, words[1] ^ 0xe7037ed1a0b428db) ^
                              folded_product(words[2] ^ 0x8ebc6af09c88c6e3, words[3] ^ 0x589965cc75374cc3);
  return std::rotl(before, 27) * 5 + mixed;
}
inline TraceHash extend(TraceHash before, const Event& event) {
  return extend(before, std::bit_cast<EventWords>(event));
}

}  // namespace nmrfuzz::trace
