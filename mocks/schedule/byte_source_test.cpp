#include "schedule/byte_source.h"

#include <gtest/gtest.h>

#include <vector>

#include "schedule/scheduler_fixture.h"

namespace nmrfuzz::schedule {
namespace {

using Bytes = std::vector<std::uint8_t>;

TEST(ByteSource, OneByteADecisionTwoAbove256) {
  struct Row {
    Bytes bytes;
    std::uint32_t alternatives;
    std::uint32_t answer;
  };
  const Row rows[] = {{{0}, 3, 0},         {{5}, 3, 2},    {{255}, 256, 255},     {{1, 2}, 257, 258 % 257},
                      {{1, 2}, 1000, 258}, {{9}, 1000, 9}, {{1, 2}, 65'536, 258}, {{}, 7, 0},
                      {{1, 2}, 2, 1}};
  for (const Row& row : rows) {
    ByteSource source(row.bytes);
    for (int execution = 0; execution < 2; ++execution) {
      source.begin(0);
      EXPECT_EQ(source.choose(row.alternatives, ChoiceKind::kWorld), row.answer) << row.alternatives;
    }
  }
}

TEST(ByteSource, PicksByPositionAndThenGoesOn) {
  const std::vector<ThreadNumber> runnable = {7, 3, 5};
  const Bytes bytes = {1, 2, 3};
  ByteSource source(bytes);
  source.begin(0);
  EXPECT_EQ(source.pick({runnable, 7, nullptr}), 3);
  EXPECT_EQ(source.pick({runnable, 3, nullptr}), 5);
  EXPECT_EQ(source.pick({runnable, 5, nullptr}), 7);
  EXPECT_EQ(source.pick({runnable, 7, nullptr}), 7);
  EXPECT_EQ(source.pick({runnable, 7, nullptr}), 7);
}

TEST(ByteSource, EveryByteStringIsAnExecution) {
  Machine machine;
  BusyProgram program(machine);
  for (std::uint32_t i = 0; i < 2000; ++i) {
    Bytes bytes;
    for (std::uint32_t rest = i; rest != 0; rest /= 5) {
      bytes.push_back(static_cast<std::uint8_t>(rest % 5));
    }
    ByteSource source(bytes);
    const EndReason reason = machine.run(source, 0, [&] { program.prepare(); });
    ASSERT_TRUE(reason == EndReason::kAllEnded || reason == EndReason::kStopped) << i;
    const trace::TraceHash hash = machine.recorder.hash();
    machine.run(source, 0, [&] { program.prepare(); });
    ASSERT_EQ(machine.recorder.hash(), hash);
  }
}

}  // namespace
}  // namespace nmrfuzz::schedule
