// pool.h - the pool: an arena of our own at a fixed address, with a ledger of every block.
//
// Blocks are never reused within an execution and lie at the same addresses in every build, so that a reproducer means
// the same everywhere. Each has red zones before and behind it; a shadow byte per 16 bytes says what may be touched,
// and AddressSanitizer's own shadow is kept in step. Contents: zero, or kUninitialized where the routine promises
// nothing; kFreed after the free.
// Thread safety: none. Memory is taken once, at construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "trace/event.h"

namespace nmrfuzz::kernel {

enum class PoolType : std::uint8_t { kNonPaged, kPaged };

// A block's ledger entry. Its index + 1 is the block's object number in events.
struct Block {
  std::uint32_t offset = 0;  // of the first usable byte, in the arena
  std::uint32_t size = 0;
  std::uint32_t tag = 0;
  PoolType type = PoolType::kNonPaged;
  bool live = false;
  trace::ModuleNumber module = 0;        // on whose behalf it was allocated
  trace::ObjectNumber first_object = 0;  // kernel objects inside: chain through Object::next_in_block
  std::uint64_t allocated_at = 0;        // event number
  std::uint64_t freed_at = 0;            // event number; 0 while live
};

class Pool {
 public:
  static constexpr std::size_t kArenaBytes = std::size_t{64} << 20;
  static constexpr std::uintptr_t kArenaAddress = 0x7ea000000000;
  static constexpr std::uint8_t kUninitialized = 0xa5;
  static constexpr std::uint8_t kFreed = 0xdd;
  static constexpr std::size_t kRedZone = 32;

  Pool();
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void reset();

  // Returns the block's number, 0 when the arena is full.
  std::uint32_t allocate(std::size_t bytes, std::uint32_t tag, PoolType type, bool zero, trace::ModuleNumber module,
                         std::uint64_t event);
  // Poisons and fills the block. REQUIRES: it is live.
  void free(std::uint32_t number, std::uint64_t event);

  // The block whose first usable byte is at `pointer`, live or freed; 0 if there is none.
  std::uint32_t block_at(const void* pointer) const;
  // The block whose bytes or red zones contain `pointer`; 0 if it is not in the used part of the arena.
  std::uint32_t block_around(const void* pointer) const;
  Block& block(std::uint32_t number) { return blocks_[number - 1]; }
  const Block& block(std::uint32_t number) const { return blocks_[number - 1]; }
  void* address(std::uint32_t number) const { return arena_ + blocks_[number - 1].offset; }
  std::uint32_t count() const { return static_cast<std::uint32_t>(blocks_.size()); }

  static bool contains(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) - kArenaAddress < kArenaBytes;
  }
  // Whether `bytes` >= 1 at `pointer` lie in a live block: the common case of check(), without its loop over reasons.
  bool allows(const void* pointer, std::size_t bytes) const {
    const auto first = reinterpret_cast<std::uintptr_t>(pointer) - kArenaAddress;
    if (first >= used_ || bytes > kArenaBytes) {
      return false;
    }
    const std::uint8_t* shadow = shadow_.data() + first / kGranule;
    std::size_t end = first % kGranule + bytes;  // counted from the granule's first byte
    for (; end > kGranule; end -= kGranule, ++shadow) {
      if (*shadow != kGranule) {  // red zones follow every block, so this stays in the used part
        return false;
      }
    }
    return end <= *shadow && *shadow != kShadowFreed;
  }
  // How touching `bytes` at `pointer`, which the arena contains, would be wrong; kOk if it is allowed.
  trace::Outcome check(const void* pointer, std::size_t bytes) const;

  // The quick test before check(), for every access of a module: true only if touching is allowed. False for an access
  // across the end of a granule too, so ask check() then. REQUIRES: the arena contains `pointer`.
  [[gnu::always_inline]] bool surely_allowed(const void* pointer, std::size_t bytes) const {
    const auto offset = reinterpret_cast<std::uintptr_t>(pointer) - kArenaAddress;
    // Freed and red zone are below any size when read as signed.
    const auto usable = static_cast<std::int8_t>(shadow_.data()[offset / kGranule]);
    return static_cast<int>(offset % kGranule + bytes) <= usable;
  }
  // Whether this execution has allocated paged memory, which must not be touched at DISPATCH_LEVEL or above.
  bool has_paged() const { return has_paged_; }

  // Whether the red zones of a live block, or the fill of a freed one, have been overwritten.
  bool intact(std::uint32_t number) const;

 private:
  static constexpr std::size_t kGranule = 16;
  // Shadow values: 1 .. kGranule = that many bytes of the granule may be touched.
  static constexpr std::uint8_t kShadowRedZone = 0;
  static constexpr std::uint8_t kShadowFreed = 0xfd;

  char* arena_ = nullptr;
  std::size_t used_ = 0;
  bool has_paged_ = false;
  std::vector<std::uint8_t> shadow_;
  std::vector<Block> blocks_;
};

}  // namespace nmrfuzz::kernel
