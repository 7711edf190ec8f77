// shadow.h - what is remembered of accesses, by the granule of 8 bytes that they touched.
//
// A granule has a list of records: who touched which of its bytes, how and when. What a record says of one byte is
// independent of how bytes fall into granules, so that builds whose variables lie at other addresses come to the same
// answers. Records of one execution lie one behind the other; those of earlier ones are recognised by their numbers, so
// that a new execution begins in constant time.
// Pages of granules are made on first touch and kept; nothing else is allocated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "race/access_kind.h"
#include "race/vector_clock.h"

namespace nmrfuzz::race {

// One thread's access to some bytes of one granule.
struct Record {
  std::uint32_t next = 0;  // number of the record behind it in the list; none if it is not of this execution
  Clock clock = 0;         // when, in the thread's own time
  std::uint32_t ordinal = 0;
  Slot slot = 0;
  Manner manner = Manner::kPlainRead;
  std::uint8_t mask = 0;  // bit i: byte i of the granule
};

class Shadow {
 public:
  static constexpr std::size_t kGranule = 8;
  static constexpr std::uint32_t kCapacity = 1U << 18;  // records of one execution
  static constexpr std::uint32_t kNone = 0;

  struct Page {
    std::array<std::uint32_t, 4096 / kGranule> heads{};
    std::uint16_t stack_of = 0;  // the simulated thread whose stack this is; 0 for other memory
  };
  struct Cell {
    Page* page;
    std::uint32_t* head;
  };

  // `stack_of(address)`: the thread whose stack the address is in, 0 for none.
  explicit Shadow(std::uint16_t (*stack_of)(void* context, std::uintptr_t address), void* context);

  // Forgets everything.
  void reset() {
    first_ = next_;
    if (next_ > 0xffff'ffff - 2 * kCapacity) [[unlikely]] {
      start_over();
    }
  }

  [[gnu::always_inline]] Cell cell(std::uintptr_t address) {
    const std::uintptr_t number = address / 4096;
    const Cached& cached = cache_[number % kCached];
    Page* const page = cached.number == number ? cached.page : find(number);
    return {page, &page->heads[address / kGranule % page->heads.size()]};
  }

  // Whether a list goes on with that number.
  bool holds(std::uint32_t number) const { return number - first_ < next_ - first_; }
  Record& record(std::uint32_t number) { return records_[number % kCapacity]; }
  // A fresh record; kNone when there is no room for more.
  std::uint32_t add() { return next_ - first_ == kCapacity ? kNone : next_++; }

  // Forgets what happened to `bytes` at `memory`, in whole granules.
  void forget(std::uintptr_t memory, std::size_t bytes);

 private:
  static constexpr std::size_t kCached = 256;
  struct Cached {
    std::uintptr_t number = 0;
    Page* page = nullptr;
  };

  Page* find(std::uintptr_t number);
  void start_over();

  std::uint16_t (*stack_of_)(void* context, std::uintptr_t address);
  void* context_;
  std::array<Cached, kCached> cache_{};
  std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages_;
  std::vector<Record> records_;
  std::uint32_t first_ = 1;  // of this execution
  std::uint32_t next_ = 1;
};

}  // namespace nmrfuzz::race
