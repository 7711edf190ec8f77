#include "module/access.h"

#include "kernel/kernel_fixture.h"
#include "module/module_fixture.h"

namespace nmrfuzz::module {
namespace {

using kernel::PoolType;
using trace::EventKind;
using trace::Outcome;

constexpr const char* kAccesses = R"(
typedef unsigned char u1; typedef unsigned short u2; typedef unsigned u4; typedef unsigned long u8;
typedef unsigned __int128 u16;
struct Bits { unsigned a : 3; unsigned b : 5; };
u1 Load1(u1* p) { return *p; }
u2 Load2(u2* p) { return *p; }
u4 Load4(u4* p) { return *p; }
u8 Load8(u8* p) { return *p; }
u16 Load16(u16* p) { return *p; }
u4 LoadVolatile(volatile u4* p) { return *p; }
void Store1(u1* p) { *p = 1; }
void Store2(u2* p) { *p = 1; }
void Store4(u4* p) { *p = 1; }
void Store8(u8* p) { *p = 1; }
void Store16(u16* p) { *p = 1; }
u4 LoadBits(struct Bits* p) { return p->b; }
static int made = 3;
__attribute__((constructor)) static void Construct(void) { made = made + 1; }
int DriverEntry(void) { return made; }
)";

class AccessTest : public kernel::KernelFixture, protected ModuleTools {
 protected:
  AccessTest() : image(load("a.c", kAccesses)) {}

  // What a module thread that calls the module's `routine` with `pointer` has written of kBadAccess. In an ASan build
  // and on the null page the access that follows would end the program, so the event ends the execution, as rules do.
  std::vector<trace::Event> bad(const char* routine, void* pointer, std::uint8_t irql = 0) {
    const auto call = find<void (*)(void*)>(*image, routine);
    const auto body = [&] { call(pointer); };
    start(body, irql);
    recorder.subscribe(ender_, {EventKind::kBadAccess});
    finish();
    recorder.unsubscribe(ender_);
    return events(EventKind::kBadAccess);
  }
  std::uint32_t allocate(std::size_t bytes, PoolType type = PoolType::kNonPaged) {
    return kernel.pool().allocate(bytes, 0, type, true, kModule, 0);
  }

  std::unique_ptr<Image> image;

 private:
  struct Ender : trace::Observer {
    explicit Ender(schedule::Scheduler& s) : scheduler(s) {}
    void on_event(const trace::Event&) override { scheduler.end(schedule::EndReason::kStopped); }
    schedule::Scheduler& scheduler;
  };
  Ender ender_{scheduler};
};

TEST_F(AccessTest, EverySizeAtTheEndOfABlock) {
  for (const bool is_write : {false, true}) {
    for (const std::size_t bytes : {1U, 2U, 4U, 8U, 16U}) {
      const std::string routine = (is_write ? "Store" : "Load") + std::to_string(bytes);
      begin(0);
      const std::uint32_t block = allocate(48);
      auto* const end = static_cast<char*>(kernel.pool().address(block)) + 48;
      EXPECT_TRUE(bad(routine.c_str(), end - bytes).empty()) << routine;
      const auto events = bad(routine.c_str(), end);
      ASSERT_EQ(events.size(), 1U) << routine;
      EXPECT_EQ(events[0].outcome, Outcome::kOutOfBounds) << routine;
      EXPECT_EQ(events[0].routine, static_cast<trace::RoutineNumber>(kernel::Routine::MemoryAccess));
      EXPECT_EQ(events[0].object, block) << routine;
      EXPECT_EQ(events[0].module, kModule);
      EXPECT_EQ(events[0].a, bytes);
      EXPECT_EQ(events[0].b, is_write ? 1U : 0U);
    }
  }
}

TEST_F(AccessTest, AcrossGranulesAndOddSizes) {
  const std::uint32_t block = allocate(21);
  auto* const start = static_cast<char*>(kernel.pool().address(block));
  EXPECT_TRUE(bad("Load1", start + 20).empty());
  EXPECT_EQ(bad("Load1", start + 21).size(), 1U);
  begin(0);
  allocate(21);
  EXPECT_TRUE(bad("Load4", start + 14).empty()) << "across two granules of one block";
  EXPECT_EQ(bad("Load4", start + 18).size(), 1U);
}

TEST_F(AccessTest, FreedBlocks) {
  const std::uint32_t block = allocate(16);
  kernel.pool().free(block, 1);
  const auto events = bad("Load8", kernel.pool().address(block));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].outcome, Outcome::kFreedAccess);
  EXPECT_EQ(events[0].object, block);
}

TEST_F(AccessTest, NullPage) {
  for (const char* routine : {"Load4", "Store8", "LoadVolatile", "LoadBits"}) {
    for (const std::uintptr_t address : {0U, 0x18U, 0xff00U}) {
      begin(0);
      const auto events = bad(routine, reinterpret_cast<void*>(address));
      ASSERT_EQ(events.size(), 1U) << routine << " " << address;
      EXPECT_EQ(events[0].outcome, Outcome::kNullAccess);
      EXPECT_EQ(events[0].object, 0U);
    }
  }
}

TEST_F(AccessTest, PagedPoolAtRaisedIrql) {
  const std::uint32_t paged = allocate(16, PoolType::kPaged);
  const std::uint32_t resident = allocate(16);
  EXPECT_TRUE(bad("Load4", kernel.pool().address(paged), kernel::kApcLevel).empty());
  EXPECT_TRUE(bad("Load4", kernel.pool().address(resident), kernel::kDispatchLevel).empty());
  const auto events = bad("Load4", kernel.pool().address(paged), kernel::kDispatchLevel);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].outcome, Outcome::kPagedAtRaisedIrql);
  EXPECT_EQ(events[0].object, paged);
}

TEST_F(AccessTest, OtherMemoryIsNotOurs) {
  long local = 0;
  EXPECT_TRUE(bad("Store8", &local).empty());
  EXPECT_EQ(local, 1);
}

TEST_F(AccessTest, NothingIsCheckedOutsideAnExecution) {
  kernel::Kernel* const previous = kernel::set_current_kernel(nullptr);
  const auto again = load("b.c", kAccesses);
  EXPECT_EQ(reinterpret_cast<int (*)()>(again->entry())(), 4);
  kernel::set_current_kernel(previous);
}

}  // namespace
}  // namespace nmrfuzz::module
