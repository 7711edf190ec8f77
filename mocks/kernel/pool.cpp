#include "kernel/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernel/mutant.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define NMRFUZZ_POISON(address, bytes) __asan_poison_memory_region(address, bytes)
#define NMRFUZZ_UNPOISON(address, bytes) __asan_unpoison_memory_region(address, bytes)
#endif
#endif
#if !defined(NMRFUZZ_POISON)
#define NMRFUZZ_POISON(address, bytes) (void)0
#define NMRFUZZ_UNPOISON(address, bytes) (void)0
#endif

namespace nmrfuzz::kernel {

namespace {

constexpr std::uint8_t kRedZoneFill = 0xfa;

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

bool filled_with(const char* memory, std::size_t bytes, std::uint8_t value) {
  // Each byte equals the one behind it, and the first one is right.
  return bytes == 0 || (static_cast<std::uint8_t>(*memory) == value && std::memcmp(memory, memory + 1, bytes - 1) == 0);
}

}  // namespace

Pool::Pool() : shadow_(kArenaBytes / kGranule, kShadowRedZone) {
  void* const wanted = reinterpret_cast<void*>(kArenaAddress);
  void* const memory = mmap(wanted, kArenaBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (memory != wanted) {
    std::perror("nmrfuzz: cannot map the pool at its address");
    std::abort();
  }
  arena_ = static_cast<char*>(memory);
  NMRFUZZ_POISON(arena_, kArenaBytes);
  blocks_.reserve(kArenaBytes / (2 * kRedZone + kGranule));
}

Pool::~Pool() {
  NMRFUZZ_UNPOISON(arena_, kArenaBytes);
  munmap(arena_, kArenaBytes);
}

void Pool::reset() {
  NMRFUZZ_POISON(arena_, used_);
  std::memset(shadow_.data(), kShadowRedZone, used_ / kGranule);
  used_ = 0;
  has_paged_ = false;
  blocks_.clear();
}

std::uint32_t Pool::allocate(std::size_t bytes, std::uint32_t tag, PoolType type, bool zero, trace::ModuleNumber module,
                             std::uint64_t event) {
  const std::size_t body = round_up(std::max<std::size_t>(bytes, 1), kGranule);
  if (bytes > kArenaBytes || used_ + kRedZone + body + kRedZone > kArenaBytes) {
    return 0;
  }
  char* const start = arena_ + used_;
  const std::size_t tail = body - bytes + kRedZone;  // red zone behind, to the byte
  NMRFUZZ_UNPOISON(start, kRedZone + body + kRedZone);
  std::memset(start, kRedZoneFill, kRedZone);
  std::memset(start + kRedZone, zero && !is_mutant(Mutant::kZeroesNothing) ? 0 : kUninitialized, bytes);
  std::memset(start + kRedZone + bytes, kRedZoneFill, tail);
  NMRFUZZ_POISON(start, kRedZone);
  NMRFUZZ_POISON(start + kRedZone + bytes, tail);

  std::uint8_t* const shadow = shadow_.data() + (used_ + kRedZone) / kGranule;
  std::memset(shadow, kGranule, bytes / kGranule);
  if (bytes % kGranule != 0) {
    shadow[bytes / kGranule] = static_cast<std::uint8_t>(bytes % kGranule);
  }

  Block& block = blocks_.emplace_back();
  block.offset = static_cast<std::uint32_t>(used_ + kRedZone);
  block.size = static_cast<std::uint32_t>(bytes);
  block.tag = tag;
  block.type = type;
  has_paged_ |= type == PoolType::kPaged;
  block.live = true;
  block.module = module;
  block.allocated_at = event;
  used_ += kRedZone + body + kRedZone;
  return count();
}

void Pool::free(std::uint32_t number, std::uint64_t event) {
  Block& freed = block(number);
  freed.live = false;
  freed.freed_at = event;
  std::memset(arena_ + freed.offset, kFreed, freed.size);
  std::memset(shadow_.data() + freed.offset / kGranule, kShadowFreed, round_up(freed.size, kGranule) / kGranule);
  NMRFUZZ_POISON(arena_ + freed.offset, freed.size);
}

std::uint32_t Pool::block_around(const void* pointer) const {
  if (!contains(pointer)) {
    return 0;
  }
  const auto offset = reinterpret_cast<std::uintptr_t>(pointer) - kArenaAddress;
  if (offset >= used_) {
    return 0;
  }
  // Blocks lie in the arena in the order of their numbers, each with its red zone before it.
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), offset + kRedZone,
                                      [](std::uintptr_t at, const Block& block) { return at < block.offset; });
  return static_cast<std::uint32_t>(after - blocks_.begin());
}

std::uint32_t Pool::block_at(const void* pointer) const {
  const std::uint32_t number = block_around(pointer);
  return number != 0 && address(number) == pointer ? number : 0;
}

trace::Outcome Pool::check(const void* pointer, std::size_t bytes) const {
  const auto offset = reinterpret_cast<std::uintptr_t>(pointer) - kArenaAddress;
  if (bytes > kArenaBytes - offset) {
    return trace::Outcome::kOutOfBounds;
  }
  for (std::size_t at = offset; at < offset + bytes;) {
    const std::uint8_t shadow = shadow_[at / kGranule];
    if (shadow == kShadowFreed && is_mutant(Mutant::kAllowsFreed)) {
      return trace::Outcome::kOk;
    }
    if (shadow == kShadowFreed) {
      return trace::Outcome::kFreedAccess;
    }
    const std::size_t end = std::min(offset + bytes, (at / kGranule + 1) * kGranule);
    if (end - at / kGranule * kGranule > shadow && !is_mutant(Mutant::kAllowsTail)) {
      return trace::Outcome::kOutOfBounds;
    }
    at = end;
  }
  return trace::Outcome::kOk;
}

bool Pool::intact(std::uint32_t number) const {
  const Block& checked = block(number);
  const char* const body = arena_ + checked.offset;
  const std::size_t tail = round_up(std::max<std::size_t>(checked.size, 1), kGranule) - checked.size + kRedZone;
  NMRFUZZ_UNPOISON(body - kRedZone, kRedZone + checked.size + tail);
  const bool whole = filled_with(body - kRedZone, kRedZone, kRedZoneFill) &&
                     filled_with(body + checked.size, tail, kRedZoneFill) &&
                     (checked.live || filled_with(body, checked.size, kFreed));
  NMRFUZZ_POISON(body - kRedZone, kRedZone);
  NMRFUZZ_POISON(body + checked.size, tail);
  if (!checked.live) {
    NMRFUZZ_POISON(body, checked.size);
  }
  return whole || is_mutant(Mutant::kFindsAllIntact);
}

}  // namespace nmrfuzz::kernel
