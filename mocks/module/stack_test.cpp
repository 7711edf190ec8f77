#include "module/stack.h"

#include <array>

#include "kernel/kernel_fixture.h"
#include "module/module_fixture.h"
#include "module/symbolizer.h"

namespace nmrfuzz::module {
namespace {

std::array<std::uintptr_t, 16> frames;
std::size_t frame_count = 0;
std::size_t frame_capacity = frames.size();

extern "C" __attribute__((used, noinline, visibility("default"))) void NmrfuzzStackTestRoutine(void) {
  frame_count = capture_stack(frames.data(), frame_capacity);
}

constexpr const char* kCalls = R"(void NmrfuzzStackTestRoutine(void);
int depth;
__attribute__((noinline)) static void Inner(void) {
  NmrfuzzStackTestRoutine();
  ++depth;
}
static inline __attribute__((always_inline)) void Inlined(void) {
  Inner();
  ++depth;
}
void Outer(void) {
  Inlined();
  ++depth;
}
void Damaged(void) {
  void** frame = __builtin_frame_address(0);
  void* saved = frame[0];
  frame[0] = (void*)0x123456789abcdef8;
  NmrfuzzStackTestRoutine();
  frame[0] = saved;
}
int DriverEntry(void) { return depth; }
)";

class StackTest : public kernel::KernelFixture, protected ModuleTools {
 protected:
  StackTest() : image(load("calls.c", kCalls)) { frame_capacity = frames.size(); }
  void call(const char* routine) {
    frame_count = 0;
    const auto function = find<void (*)()>(*image, routine);
    const auto body = [&] { function(); };
    run(0, body);
  }
  // The frames in the module's code, innermost first, as "function line".
  std::vector<std::string> described(Symbolizer& symbolizer) {
    std::vector<std::string> result;
    for (std::size_t i = 0; i < frame_count; ++i) {
      for (const SourceFrame& frame : symbolizer.describe_call(*image, frames[i])) {
        EXPECT_EQ(frame.file, folder / "calls.c");
        result.push_back(frame.function + " " + std::to_string(frame.line));
      }
    }
    return result;
  }

  std::unique_ptr<Image> image;
};

TEST_F(StackTest, NamesEveryFrameOfTheModule) {
  call("Outer");
  Symbolizer symbolizer;
  const std::vector<std::string> expected = {"Inner 4", "Inlined 8", "Outer 12"};
  EXPECT_EQ(described(symbolizer), expected);
  EXPECT_EQ(described(symbolizer), expected) << "the second question";
}

TEST_F(StackTest, StopsAtItsCapacity) {
  frame_capacity = 1;
  call("Outer");
  EXPECT_EQ(frame_count, 1U);
}

TEST_F(StackTest, SurvivesDamagedFrames) {
  call("Damaged");
  EXPECT_EQ(frame_count, 3U) << "in the routine, in Damaged, and in the caller that its own frame still names";
}

TEST_F(StackTest, IsEmptyOutsideASimulatedThread) {
  frame_count = 99;
  NmrfuzzStackTestRoutine();
  EXPECT_EQ(frame_count, 0U);
  kernel::Kernel* const previous = kernel::set_current_kernel(nullptr);
  NmrfuzzStackTestRoutine();
  kernel::set_current_kernel(previous);
  EXPECT_EQ(frame_count, 0U);
}

TEST_F(StackTest, WithoutASymbolizerNothingIsKnown) {
  call("Outer");
  for (const char* program : {"/no/such/program", "true"}) {
    Symbolizer symbolizer(program);
    EXPECT_TRUE(described(symbolizer).empty());
    EXPECT_TRUE(described(symbolizer).empty());
  }
}

TEST_F(StackTest, AddressesOutsideTheImageAreNotAsked) {
  Symbolizer symbolizer;
  EXPECT_TRUE(symbolizer.describe(*image, reinterpret_cast<std::uintptr_t>(&NmrfuzzStackTestRoutine)).empty());
}

}  // namespace
}  // namespace nmrfuzz::module
