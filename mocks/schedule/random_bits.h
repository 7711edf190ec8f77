// random_bits.h - the pseudo-random generator behind seeded strategies: wyrand (Wang Yi, wyhash final version 4).
//
// One widening multiplication a draw, 16 bytes of state. Its constants and mixing are those of wyhash's wyrand().
#pragma once

#include <cstdint>

namespace nmrfuzz::schedule {

class RandomBits {
 public:
  // Any seed is a good seed: neighbouring ones are spread by a SplitMix64 step (Steele, Lea, Flood, OOPSLA 2014).
  explicit RandomBits(std::uint64_t seed = 0) : state_(spread(seed + 0x9e3779b97f4a7c15)) { next(); }

  // Computed one draw ahead: whoever asks is about to branch on the answer.
  std::uint64_t next() {
    const std::uint64_t drawn = ahead_;
    state_ += 0x2d358dccaa6c78a5;
    const auto product = static_cast<unsigned __int128>(state_) * (state_ ^ 0x8bb84b93962eacc9);
    ahead_ = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    return drawn;
  }

  // Uniform over 0 .. bound - 1 up to a bias of bound / 2^32. REQUIRES: bound > 0.
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32); }

 private:
  static constexpr std::uint64_t spread(std::uint64_t mixed) {
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  std::uint64_t state_;
  std::uint64_t ahead_ = 0;
};

// The seed of schedule number `schedule` of a hunt with seed `seed`: the same whoever runs it, so that the number of
// jobs never changes which schedule finds what.
inline std::uint64_t seed_of_schedule(std::uint64_t seed, std::uint64_t schedule) {
  RandomBits mixer(seed ^ (schedule * 0xd1342543de82ef95));
  return mixer.next();
}

}  // namespace nmrfuzz::schedule
