#include "race/accesses.h"

#include <ntddk.h>

#include <array>
#include <optional>
#include <vector>

#include "kernel/pool_routines.h"
#include "race/race_fixture.h"
#include "schedule/random_bits.h"

namespace nmrfuzz::race {
namespace {

using trace::Outcome;

class AccessesTest : public RaceFixture {
 protected:
  // Where the accesses of random programs lie: across granules, in all sizes.
  alignas(8) std::array<char, 32> memory{};

  void touch_bytes(std::size_t offset, std::size_t bytes, AccessKind kind, bool is_write) {
    touch_at(&memory[offset], bytes, kind, is_write);
  }
};

TEST_F(AccessesTest, OnlyOverlappingBytesRace) {
  const auto low = [&] { touch_bytes(0, 4, AccessKind::kPlain, true); };
  const auto high = [&] { touch_bytes(4, 4, AccessKind::kPlain, true); };
  const auto across = [&] { touch_bytes(3, 2, AccessKind::kPlain, true); };
  EXPECT_EQ(races(low, high), 0);
  EXPECT_EQ(races(low, across), kSchedules);
  EXPECT_EQ(races(high, across), kSchedules);
}

TEST_F(AccessesTest, ARaceNamesBothAccesses) {
  begin(1);
  const auto first = [&] {
    touch_bytes(16, 4, AccessKind::kPlain, true);
    touch_bytes(0, 8, AccessKind::kPlain, false);
  };
  const auto second = [&] { touch_bytes(2, 2, AccessKind::kVolatile, true); };
  start(first);
  finish();
  start(second);
  finish();
  const std::vector<trace::Event> found = accesses_with(Outcome::kUnordered);
  ASSERT_EQ(found.size(), 1U);
  const Shape shape = Shape::of(found[0].a);
  EXPECT_EQ(shape.bytes, 2);
  EXPECT_TRUE(shape.is_write);
  EXPECT_EQ(shape.kind, AccessKind::kVolatile);
  EXPECT_FALSE(shape.is_free);
  EXPECT_EQ(shape.ordinal, 3U);
  EXPECT_EQ(found[0].b, 2U);
}

TEST_F(AccessesTest, AnAccessKeepsItsOrdinalWhileOthersGoFirst) {
  const auto body = [&] { touch_bytes(0, 4, AccessKind::kVolatile, true); };
  const auto plain = [&] { touch_bytes(0, 4, AccessKind::kPlain, false); };
  int delayed = 0;
  for (int seed = 1; seed <= kSchedules; ++seed) {
    begin(static_cast<std::uint64_t>(seed));
    start(body);
    start(plain);
    finish();
    const std::vector<trace::Event> found = accesses_with(Outcome::kUnordered);
    ASSERT_EQ(found.size(), 1U);
    // The two have ordinals 1 and 2, whichever of them was made first.
    EXPECT_EQ(Shape::of(found[0].a).ordinal + found[0].b, 3U);
    delayed += found[0].b == 2 ? 1 : 0;
  }
  EXPECT_GT(delayed, 0);
}

TEST_F(AccessesTest, APlainReadOfAnInterlockedWordIsNoted) {
  LONG count = 0;
  const auto changes = [&] { InterlockedIncrement(&count); };
  const auto looks = [&] { read(count); };
  begin(1);
  start(changes);
  start(looks);
  finish();
  EXPECT_FALSE(raced());
  EXPECT_EQ(accesses_with(Outcome::kUnorderedRead).size(), 1U);
  const auto overwrites = [&] { write(count); };
  EXPECT_EQ(races(changes, overwrites), kSchedules);
}

TEST_F(AccessesTest, FreeingABlockIsAWriteOfAllItsBytes) {
  begin(1);
  char* block = nullptr;
  const auto allocates = [&] { block = static_cast<char*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'tseT')); };
  const auto reads = [&] { touch_at(block + 40, 4, AccessKind::kPlain, false); };
  const auto frees = [&] { ExFreePoolWithTag(block, 'tseT'); };
  start(allocates);
  finish();
  start(reads);
  finish();
  start(frees);
  finish();
  const std::vector<trace::Event> found = accesses_with(Outcome::kUnordered);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(Shape::of(found[0].a).is_free);
  EXPECT_NE(found[0].object, 0U);
}

TEST_F(AccessesTest, MemoryOfOneThreadLeavesNoEvents) {
  const auto body = [&] {
    for (int i = 0; i < 100; ++i) {
      touch_bytes(8, 4, AccessKind::kPlain, i % 2 == 0);
    }
  };
  begin(1);
  start(body);
  finish();
  EXPECT_TRUE(events(trace::EventKind::kAccess).empty());
  EXPECT_EQ(accesses.count(), 100U);
}

TEST_F(AccessesTest, SharedMemoryLeavesOneEventForEachEpoch) {
  KSPIN_LOCK lock = 0;
  const auto body = [&] {
    KIRQL level = KeAcquireSpinLockRaiseToDpc(&lock);
    for (int i = 0; i < 10; ++i) {
      touch_bytes(8, 4, AccessKind::kPlain, true);
    }
    KeReleaseSpinLock(&lock, level);
  };
  begin(1);
  start(body);
  start(body);
  finish();
  const std::vector<trace::Event> found = events(trace::EventKind::kAccess);
  ASSERT_EQ(found.size(), 1U);  // of whoever came second
  EXPECT_EQ(found[0].outcome, Outcome::kOk);
  EXPECT_EQ(Shape::of(found[0].a).ordinal, 11U);
}

TEST_F(AccessesTest, APreemptionLetsOthersGoFirst) {
  // The reader is between two accesses of one variable when the writer comes, or never.
  const auto interrupted = [&] {
    int count = 0;
    for (int seed = 1; seed <= kSchedules; ++seed) {
      int value = 0;
      bool changed = false;
      const auto reader = [&] {
        touch_bytes(0, 1, AccessKind::kPlain, false);
        const int before = value;
        touch_bytes(0, 1, AccessKind::kPlain, false);
        changed = value != before;
      };
      const auto writer = [&] { value = 1; };
      begin(static_cast<std::uint64_t>(seed));
      start(reader);
      start(writer);
      finish();
      count += changed ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(interrupted(), 0);
  preemptions = {2};
  EXPECT_GT(interrupted(), kSchedules / 10);
  preemptions = {3};
  EXPECT_EQ(interrupted(), 0);
}

TEST_F(AccessesTest, AThreadThatOnlyAccessesLetsOthersGoFirstInTheEnd) {
  bool stop = false;
  const auto spins = [&] {
    while (!stop) {
      touch_bytes(0, 1, AccessKind::kPlain, false);
    }
  };
  const auto stops = [&] { stop = true; };
  begin(1);
  start(spins);
  start(stops);
  EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
  step_limit = 1000;
  stop = false;
  begin(1);
  start(spins);
  EXPECT_EQ(finish(), schedule::EndReason::kStepLimit);
}

TEST_F(AccessesTest, TheNextThreadOnAStackDoesNotInheritItsRecords) {
  // Another thread touches the variable of one that has ended; the next one on that stack has its own there.
  std::vector<char*> locals;
  const auto owner = [&] {
    char local = 0;
    locals.push_back(&local);
    touch(local, AccessKind::kPlain, true);
    kernel.point(kernel::Routine::kNone);
  };
  begin(1);
  start(owner);
  finish();
  start(owner);
  finish();
  ASSERT_EQ(locals.size(), 2U);
  EXPECT_EQ(locals[0], locals[1]);  // else nothing is tested
  EXPECT_FALSE(raced());
}

TEST_F(AccessesTest, ForgottenMemoryIsFresh) {
  const auto body = [&] { touch_bytes(0, 8, AccessKind::kPlain, true); };
  begin(1);
  start(body);
  finish();
  accesses.forget(memory.data(), memory.size());
  start(body);
  finish();
  EXPECT_FALSE(raced());
}

// --- Against the definition: every pair of conflicting accesses that are not ordered is a race. ----------------------

struct Logged {
  std::size_t offset;
  std::size_t bytes;
  Manner manner;
  Slot slot;
  Clock clock;
  VectorClock known;
  std::uint64_t ordinal;
};

bool is_race(const Logged& earlier, const Logged& later) {
  const bool overlap = earlier.offset < later.offset + later.bytes && later.offset < earlier.offset + earlier.bytes;
  return overlap && earlier.slot != later.slot && earlier.clock > later.known.components[earlier.slot] &&
         conflicts(earlier.manner, later.manner) && !is_tolerated(earlier.manner, later.manner);
}

// The ordinal of the first access that races with an earlier one.
std::optional<std::uint64_t> first_race(const std::vector<Logged>& log) {
  for (std::size_t later = 0; later < log.size(); ++later) {
    for (std::size_t earlier = 0; earlier < later; ++earlier) {
      if (is_race(log[earlier], log[later])) {
        return log[later].ordinal;
      }
    }
  }
  return std::nullopt;
}

// A program of one thread: random accesses, between them locks, barriers and flags.
class RandomProgram {
 public:
  RandomProgram(std::uint64_t seed, bool careful) : random_(seed), careful_(careful) {}

  struct Step {
    enum class What : std::uint8_t { kAccess, kLock, kUnlock, kPublish, kConsume } what;
    std::size_t offset = 0;
    std::size_t bytes = 0;
    AccessKind kind = AccessKind::kPlain;
    bool is_write = false;
  };

  std::vector<Step> make() {
    std::vector<Step> steps;
    bool locked = false;
    const std::uint32_t length = 3 + random_.below(12);
    for (std::uint32_t i = 0; i < length; ++i) {
      const std::uint32_t dice = random_.below(10);
      if (dice == 0) {
        steps.push_back({locked ? Step::What::kUnlock : Step::What::kLock});
        locked = !locked;
      } else if (dice == 1) {
        steps.push_back({random_.below(2) == 0 ? Step::What::kPublish : Step::What::kConsume});
      } else if (locked || !careful_ || random_.below(8) == 0) {
        constexpr std::size_t kSizes[] = {1, 2, 4, 8, 3, 12};
        const std::size_t bytes = kSizes[random_.below(6)];
        steps.push_back({Step::What::kAccess, random_.below(static_cast<std::uint32_t>(32 - bytes)), bytes,
                         random_.below(4) == 0 ? AccessKind::kVolatile : AccessKind::kPlain, random_.below(3) == 0});
      }
    }
    if (locked) {
      steps.push_back({Step::What::kUnlock});
    }
    return steps;
  }

 private:
  schedule::RandomBits random_;
  bool careful_;
};

TEST_F(AccessesTest, AgreesWithTheDefinitionOnRandomPrograms) {
  constexpr int kPrograms = 3000;
  constexpr int kThreads = 4;
  using Step = RandomProgram::Step;
  int racing = 0;
  for (int program = 1; program <= kPrograms; ++program) {
    std::vector<std::vector<Step>> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.push_back(RandomProgram(static_cast<std::uint64_t>(program * kThreads + i), program % 2 == 0).make());
    }
    KSPIN_LOCK lock = 0;
    LONG flag = 0;
    std::vector<Logged> log;
    const auto body = [&](const std::vector<Step>& steps) {
      return [&] {
        KIRQL level = 0;
        for (const Step& step : steps) {
          switch (step.what) {
            case Step::What::kLock:
              level = KeAcquireSpinLockRaiseToDpc(&lock);
              break;
            case Step::What::kUnlock:
              KeReleaseSpinLock(&lock, level);
              break;
            case Step::What::kPublish:
              WriteRelease(&flag, 1);
              break;
            case Step::What::kConsume:
              ReadAcquire(&flag);
              break;
            case Step::What::kAccess: {
              const std::uint64_t ordinal = accesses.reach(&memory[step.offset], step.bytes, step.kind, step.is_write);
              const HappensBefore::ThreadClock& self = accesses.order().thread(scheduler.current().number);
              log.push_back({step.offset, step.bytes, manner_of(step.kind, step.is_write), self.slot,
                             self.known.components[self.slot], self.known, ordinal});
              accesses.make(ordinal, &memory[step.offset], step.bytes, step.kind, step.is_write);
              break;
            }
          }
        }
      };
    };
    begin(static_cast<std::uint64_t>(program));
    const std::array bodies = {body(threads[0]), body(threads[1]), body(threads[2]), body(threads[3])};
    for (const auto& each : bodies) {
      start(each);
    }
    ASSERT_EQ(finish(), schedule::EndReason::kAllEnded);
    const std::optional<std::uint64_t> expected = first_race(log);
    const std::vector<trace::Event> found = accesses_with(Outcome::kUnordered);
    ASSERT_EQ(!found.empty(), expected.has_value()) << "program " << program;
    if (expected) {
      ++racing;
      EXPECT_EQ(Shape::of(found[0].a).ordinal, *expected) << "program " << program;
    }
  }
  EXPECT_GT(racing, kPrograms / 4);
  EXPECT_LT(racing, kPrograms * 19 / 20);
}

}  // namespace
}  // namespace nmrfuzz::race
