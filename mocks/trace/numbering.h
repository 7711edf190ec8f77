// numbering.h - gives each value a small number by its order of first appearance within one execution.
//
// Contexts, handles and other values that a module chooses may be addresses; the stream must not contain those.
// 0 is always number 0 and keeps its meaning (NULL). No allocation after construction; forgets everything in O(1).
#pragma once

#include <cstdint>
#include <vector>

namespace nmrfuzz::trace {

class Numbering {
 public:
  Numbering() : slots_(kSlots) {}

  void reset() {
    ++generation_;
    used_ = 0;
  }

  // The number of `value`; a new one if this execution has not seen it. Past kMaximum distinct values, kMaximum.
  std::uint32_t number(std::uint64_t value) {
    if (value == 0) {
      return 0;
    }
    for (std::size_t index = first_slot(value);; index = (index + 1) % kSlots) {
      Slot& slot = slots_[index];
      if (slot.generation != generation_) {
        if (used_ == kMaximum) {
          return kMaximum;
        }
        slot = {value, generation_, ++used_};
        return used_;
      }
      if (slot.value == value) {
        return slot.number;
      }
    }
  }

  // The number of `value` if this execution has numbered it and no other value has that number; else 0.
  std::uint32_t find(std::uint64_t value) const {
    if (value == 0) {
      return 0;
    }
    for (std::size_t index = first_slot(value);; index = (index + 1) % kSlots) {
      const Slot& slot = slots_[index];
      if (slot.generation != generation_) {
        return 0;
      }
      if (slot.value == value) {
        return slot.number != kMaximum ? slot.number : 0;
      }
    }
  }

 private:
  static constexpr unsigned kBits = 16;
  static constexpr std::size_t kSlots = std::size_t{1} << kBits;
  static constexpr std::uint32_t kMaximum = kSlots / 2;
  struct Slot {
    std::uint64_t value = 0;
    std::uint32_t generation = 0;
    std::uint32_t number = 0;
  };
  static std::size_t first_slot(std::uint64_t value) { return (value * 0x9e3779b97f4a7c15) >> (64 - kBits); }

  std::vector<Slot> slots_;
  std::uint32_t generation_ = 1;
  std::uint32_t used_ = 0;
};

}  // namespace nmrfuzz::trace
