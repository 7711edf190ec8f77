#include "kernel/pool_audit.h"

#include <gmock/gmock.h>

#include <vector>

namespace nmrfuzz::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr trace::ModuleNumber kModule = 3;

std::vector<std::uint32_t> leaks(const Pool& pool, trace::ModuleNumber module) {
  std::vector<std::uint32_t> result;
  for (std::uint32_t number = next_leak(pool, module, 0); number != 0; number = next_leak(pool, module, number)) {
    result.push_back(number);
  }
  return result;
}

std::vector<std::uint32_t> corrupt(const Pool& pool) {
  std::vector<std::uint32_t> result;
  for (std::uint32_t number = next_corrupt(pool, 0); number != 0; number = next_corrupt(pool, number)) {
    result.push_back(number);
  }
  return result;
}

TEST(PoolAudit, LeaksAreTheLiveBlocksOfThatModule) {
  Pool pool;
  EXPECT_THAT(leaks(pool, kModule), IsEmpty());
  for (const trace::ModuleNumber module : {kModule, trace::ModuleNumber{0}, kModule, kModule}) {
    pool.allocate(10, 1, PoolType::kNonPaged, true, module, 0);
  }
  pool.free(3, 1);
  EXPECT_THAT(leaks(pool, kModule), ElementsAre(1, 4));
  EXPECT_THAT(leaks(pool, 0), ElementsAre(2));
}

// Writes where the sanitizer build would not let us.
[[gnu::no_sanitize_address]] void scribble(void* address, std::ptrdiff_t offset) {
  static_cast<volatile char*>(address)[offset] = 1;
}

TEST(PoolAudit, CorruptAreOverflownAndWrittenAfterFree) {
  Pool pool;
  for (int i = 0; i < 5; ++i) {
    pool.allocate(10, 1, PoolType::kNonPaged, true, kModule, 0);
  }
  pool.free(4, 1);
  pool.free(5, 1);
  EXPECT_THAT(corrupt(pool), IsEmpty());
  scribble(pool.address(1), 10);
  scribble(pool.address(3), -1);
  scribble(pool.address(4), 0);
  EXPECT_THAT(corrupt(pool), ElementsAre(1, 3, 4));
}

}  // namespace
}  // namespace nmrfuzz::kernel
