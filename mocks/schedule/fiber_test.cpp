#include "schedule/fiber.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(NMRFUZZ_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace nmrfuzz::schedule {
namespace {

// The test's own stack and two fibers that can switch to each other.
struct Stage {
  Fiber outside;
  Fiber first;
  Fiber second;
  std::string log;
  std::uint64_t value = 0;

  Stage() { outside.adopt_current_thread(); }
  void enter(Fiber& fiber) { Fiber::switch_between(outside, fiber); }
  static Stage& of(void* argument) { return *static_cast<Stage*>(argument); }
};

TEST(Fiber, SwitchesInTheOrderWritten) {
  Stage stage;
  stage.first.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        here.log += "a";
        Fiber::switch_between(here.first, here.second);
        here.log += "c";
        Fiber::switch_between(here.first, here.outside);
        here.log += "e";
        Fiber::switch_between(here.first, here.second);
      },
      &stage);
  stage.second.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        here.log += "b";
        Fiber::switch_between(here.second, here.first);
        here.log += "f";
        Fiber::switch_between(here.second, here.outside);
      },
      &stage);
  stage.enter(stage.first);
  stage.log += "d";
  stage.enter(stage.first);
  EXPECT_EQ(stage.log, "abcdef");
}

// As many values as there are registers, whole and floating, are in use across each switch, in both fibers.
[[gnu::noinline]] std::uint64_t mix_with_switches(Fiber& from, Fiber& to, std::uint64_t seed) {
  std::uint64_t whole[20];
  double real[20];
  for (std::uint64_t i = 0; i < 20; ++i) {
    whole[i] = seed * (2 * i + 1);
    real[i] = static_cast<double>(seed + i) / 7;
  }
  for (int round = 0; round < 50; ++round) {
    Fiber::switch_between(from, to);
    for (std::uint64_t i = 0; i < 20; ++i) {
      whole[i] = whole[i] * 6364136223846793005 + i;
      real[i] = real[i] * 1.0009765625 + static_cast<double>(i);
    }
  }
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < 20; ++i) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &real[i], sizeof bits);
    sum = sum * 31 + (whole[i] ^ bits);
  }
  return sum;
}

TEST(Fiber, KeepsEveryValueAcrossSwitches) {
  Stage stage;
  const auto idle = [](void* argument) {
    for (;;) {
      Fiber::switch_between(Stage::of(argument).second, Stage::of(argument).outside);
    }
  };
  stage.second.start(idle, &stage);
  const std::uint64_t expected = mix_with_switches(stage.outside, stage.second, 12345);

  stage.first.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        here.value = mix_with_switches(here.first, here.outside, 12345);
        here.log = "done";
        Fiber::switch_between(here.first, here.outside);
      },
      &stage);
  const std::uint64_t other = mix_with_switches(stage.outside, stage.first, 999);
  while (stage.log != "done") {
    stage.enter(stage.first);
  }
  EXPECT_EQ(stage.value, expected);
  EXPECT_NE(stage.value, other);
}

TEST(Fiber, StackIsAlignedAndWhereItIsSaidToBe) {
  Stage stage;
  stage.first.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        here.value = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
        Fiber::switch_between(here.first, here.outside);
      },
      &stage);
  stage.enter(stage.first);
  const auto low = reinterpret_cast<std::uint64_t>(stage.first.stack_low());
  EXPECT_EQ(stage.value % 16, 0U) << "calls keep frame addresses at multiples of 16";
  EXPECT_GT(stage.value, low);
  EXPECT_LT(stage.value, low + stage.first.stack_size());
  EXPECT_GT(stage.value, low + stage.first.stack_size() - 4096) << "starts at the top";
}

TEST(FiberDeathTest, StackHasAGuardPage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  Stage stage;
  stage.first.start(
      [](void* argument) { Fiber::switch_between(Stage::of(argument).first, Stage::of(argument).outside); }, &stage);
  stage.enter(stage.first);
  auto* const below = static_cast<char*>(const_cast<void*>(stage.first.stack_low())) - 1;
  EXPECT_DEATH(*static_cast<volatile char*>(below) = 1, "");
}

// --- Abandoned stacks -------------------------------------------------------------------------------------------------

// Leaves `depth` frames with arrays behind, whose red zones AddressSanitizer knows, and goes away for good.
[[gnu::noinline]] void abandon(Stage& stage, int depth) {
  volatile char array[100];
  array[depth] = static_cast<char>(depth);
  if (depth == 0) {
    Fiber::switch_between(stage.first, stage.outside);
  } else {
    abandon(stage, depth - 1);
  }
  array[1] = array[0];
}

// Writes all of a frame that is laid out otherwise than those before it.
[[gnu::noinline]] std::uint64_t deep(int depth) {
  volatile std::uint64_t array[37];
  for (std::uint64_t i = 0; i < 37; ++i) {
    array[i] = i;
  }
  return depth == 0 ? array[36] : deep(depth - 1) + array[1];
}

[[gnu::noinline]] int thrower(int depth) {
  volatile char array[77];
  array[depth] = 0;
  if (depth == 0) {
    throw std::runtime_error("thrown on a fiber");
  }
  return thrower(depth - 1) + array[depth];
}

TEST(Fiber, AnAbandonedStackIsUsedAgain) {
  Stage stage;
  for (int life = 0; life < 2000; ++life) {
    stage.first.start([](void* argument) { abandon(Stage::of(argument), 20); }, &stage);
    stage.enter(stage.first);
    stage.first.start(
        [](void* argument) {
          Stage& here = Stage::of(argument);
          here.value += deep(30);
          try {
            thrower(10);
          } catch (const std::runtime_error&) {
            here.value += 1;
          }
          here.value += deep(30);
          Fiber::switch_between(here.first, here.outside);
        },
        &stage);
    stage.value = 0;
    stage.enter(stage.first);
    ASSERT_EQ(stage.value, 2 * (36U + 30U) + 1U);
  }
}

#if defined(NMRFUZZ_FIBER_ASAN)
TEST(Fiber, AnAbandonedStackKeepsNoRedZones) {
  Stage stage;
  stage.first.start([](void* argument) { abandon(Stage::of(argument), 99); }, &stage);
  stage.enter(stage.first);
  stage.first.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        auto* const low = static_cast<char*>(const_cast<void*>(here.first.stack_low()));
        auto* const frame = static_cast<char*>(__builtin_frame_address(0));
        constexpr std::ptrdiff_t kOwnFrame = 1024;
        here.value =
            __asan_region_is_poisoned(low, static_cast<std::size_t>(frame - kOwnFrame - low)) == nullptr ? 1 : 2;
        Fiber::switch_between(here.first, here.outside);
      },
      &stage);
  stage.enter(stage.first);
  EXPECT_EQ(stage.value, 1U);
}
#endif

// An exception in flight does not see the other fibers' frames, and ends where its own fiber catches it.
TEST(Fiber, ExceptionsStayOnTheirFiber) {
  Stage stage;
  stage.first.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        try {
          here.log += "1";
          Fiber::switch_between(here.first, here.second);
          thrower(5);
        } catch (const std::runtime_error&) {
          here.log += "3";
        }
        Fiber::switch_between(here.first, here.outside);
      },
      &stage);
  stage.second.start(
      [](void* argument) {
        Stage& here = Stage::of(argument);
        try {
          here.log += "2";
          Fiber::switch_between(here.second, here.first);
        } catch (...) {
          here.log += "wrong";
        }
      },
      &stage);
  stage.enter(stage.first);
  EXPECT_EQ(stage.log, "123");
}

}  // namespace
}  // namespace nmrfuzz::schedule
