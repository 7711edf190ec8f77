#include "module/driver.h"

#include <ntddk.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"
#include "module/module_fixture.h"

namespace nmrfuzz::module {
namespace {

using kernel::ObjectKind;
using kernel::Routine;
using trace::Event;
using trace::EventKind;

// What the entry functions below, which stand in for a module's, work on. Made anew for each execution.
struct ModuleVariables {
  PDRIVER_OBJECT driver = nullptr;
  std::u16string registry_path;
  PDEVICE_OBJECT device = nullptr;
  PIO_WORKITEM item = nullptr;
  WORK_QUEUE_ITEM executive_item{};
  KTIMER timer{};
  KEVENT never{};
  int unloads = 0;
};
ModuleVariables variables;

void count_unload(PDRIVER_OBJECT driver) {
  EXPECT_EQ(driver, variables.driver);
  ++variables.unloads;
}

NTSTATUS enter_plainly(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path) {
  variables.driver = driver;
  variables.registry_path.assign(reinterpret_cast<const char16_t*>(registry_path->Buffer),
                                 registry_path->Length / sizeof(WCHAR));
  EXPECT_EQ(registry_path->Buffer[registry_path->Length / sizeof(WCHAR)], 0);
  EXPECT_NE(driver->DriverExtension, nullptr);
  EXPECT_EQ(driver->DriverUnload, nullptr);
  EXPECT_EQ(KeGetCurrentIrql(), PASSIVE_LEVEL);
  driver->DriverUnload = &count_unload;
  return STATUS_SUCCESS;
}

NTSTATUS enter_without_unload(PDRIVER_OBJECT, PUNICODE_STRING) { return STATUS_SUCCESS; }

NTSTATUS fail_to_enter(PDRIVER_OBJECT driver, PUNICODE_STRING) {
  driver->DriverUnload = &count_unload;
  return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS fail_with_device(PDRIVER_OBJECT driver, PUNICODE_STRING) {
  IoCreateDevice(driver, 0, nullptr, FILE_DEVICE_UNKNOWN, 0, FALSE, &variables.device);
  return STATUS_INSUFFICIENT_RESOURCES;
}

// A device, and an I/O work item that Unload queues as its last act.
void last_work(PDEVICE_OBJECT, PVOID) { IoFreeWorkItem(variables.item); }
void queue_and_unload(PDRIVER_OBJECT) {
  IoQueueWorkItem(variables.item, &last_work, DelayedWorkQueue, nullptr);
  IoDeleteDevice(variables.device);
}
NTSTATUS enter_with_device(PDRIVER_OBJECT driver, PUNICODE_STRING) {
  IoCreateDevice(driver, 0, nullptr, FILE_DEVICE_UNKNOWN, 0, FALSE, &variables.device);
  variables.item = IoAllocateWorkItem(variables.device);
  driver->DriverUnload = &queue_and_unload;
  return STATUS_SUCCESS;
}

// --- What a careless Unload leaves behind --------------------------------------------------------------------------

void leave_device(PDRIVER_OBJECT driver) {
  IoCreateDevice(driver, 0, nullptr, FILE_DEVICE_UNKNOWN, 0, FALSE, &variables.device);
}

void leave_timer(PDRIVER_OBJECT) {
  LARGE_INTEGER due;
  due.QuadPart = -1'000'000'000;
  KeInitializeTimer(&variables.timer);
  KeSetTimer(&variables.timer, due, nullptr);
}

void wait_for_ever(PVOID) { KeWaitForSingleObject(&variables.never, Executive, KernelMode, FALSE, nullptr); }
void leave_thread(PDRIVER_OBJECT) {
  HANDLE handle = nullptr;
  KeInitializeEvent(&variables.never, NotificationEvent, FALSE);
  PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, nullptr, nullptr, nullptr, &wait_for_ever, nullptr);
  ZwClose(handle);
}

void leave_executive_item(PDRIVER_OBJECT) {
  KeInitializeEvent(&variables.never, NotificationEvent, FALSE);
  ExInitializeWorkItem(&variables.executive_item, &wait_for_ever, nullptr);
  ExQueueWorkItem(&variables.executive_item, DelayedWorkQueue);
}

void leave_timer_and_device(PDRIVER_OBJECT driver) {
  leave_device(driver);
  leave_timer(driver);
}

class DriverTest : public kernel::KernelFixture {
 protected:
  // An execution with one loader thread: DriverEntry, then DriverUnload if there is one, unless `stays`.
  void live(DRIVER_INITIALIZE* entry, std::uint64_t seed = 1, bool stays = false) {
    variables = {};
    begin(seed);
    kernel.module(kModule).loaded = false;
    driver_ = std::make_unique<Driver>(kernel, kModule, reinterpret_cast<void*>(entry));
    driver_->reset();
    stays_ = stays;
    kernel.spawn(schedule::ThreadRole::kLoader, &DriverTest::load, this, kernel::kPassiveLevel);
    finish();
  }
  // As above, for a DriverUnload alone.
  void live_until(DRIVER_UNLOAD* unload, std::uint64_t seed = 1) {
    unload_ = unload;
    live(
        [](PDRIVER_OBJECT driver, PUNICODE_STRING) -> NTSTATUS {
          driver->DriverUnload = unload_;
          return STATUS_SUCCESS;
        },
        seed);
  }
  Driver& driver() { return *driver_; }
  NTSTATUS status() const { return status_; }

  // The events of the module's life, in order.
  std::vector<EventKind> life() const {
    std::vector<EventKind> kinds;
    for (std::uint64_t i = recorder.first(); i < recorder.size(); ++i) {
      const Event& event = recorder.at(i);
      switch (event.kind) {
        case EventKind::kDriverEntryEnter:
        case EventKind::kDriverEntryExit:
        case EventKind::kUnloadEnter:
        case EventKind::kUnloadExit:
        case EventKind::kImageGone:
        case EventKind::kWorkEnded:
        case EventKind::kLeftOver:
          kinds.push_back(event.kind);
          break;
        default:
          break;
      }
    }
    return kinds;
  }
  struct Left {
    ObjectKind kind;
    bool runs;
    bool operator==(const Left&) const = default;
  };
  std::vector<Left> left_overs() const {
    std::vector<Left> left;
    for (const Event& event : events(EventKind::kLeftOver)) {
      EXPECT_EQ(event.module, kModule);
      left.push_back({static_cast<ObjectKind>(event.a), event.b != 0});
    }
    return left;
  }

 private:
  static void load(void* test) {
    auto& self = *static_cast<DriverTest*>(test);
    self.status_ = self.driver_->enter();
    if (kernel::succeeded(self.status_) && self.driver_->can_unload() && !self.stays_) {
      self.driver_->unload();
    }
  }

  inline static DRIVER_UNLOAD* unload_ = nullptr;
  std::unique_ptr<Driver> driver_;
  NTSTATUS status_ = 0;
  bool stays_ = false;
};

TEST_F(DriverTest, ALifeFromEntryToUnload) {
  live(&enter_plainly);
  EXPECT_EQ(life(), (std::vector{EventKind::kDriverEntryEnter, EventKind::kDriverEntryExit, EventKind::kUnloadEnter,
                                 EventKind::kUnloadExit, EventKind::kImageGone}));
  EXPECT_EQ(variables.unloads, 1);
  EXPECT_FALSE(kernel.module(kModule).loaded);
  EXPECT_EQ(kernel.module(kModule).inside, 0U);
  EXPECT_NE(variables.registry_path.find(u"\\Services\\"), std::u16string::npos);
}

TEST_F(DriverTest, AfterAFailedEntryTheImageGoesWithoutUnload) {
  live(&fail_to_enter);
  EXPECT_EQ(status(), STATUS_INSUFFICIENT_RESOURCES);
  EXPECT_EQ(life(), (std::vector{EventKind::kDriverEntryEnter, EventKind::kDriverEntryExit, EventKind::kImageGone}));
  EXPECT_EQ(events(EventKind::kDriverEntryExit).front().status, static_cast<std::uint32_t>(status()));
  EXPECT_EQ(variables.unloads, 0);
  EXPECT_FALSE(kernel.module(kModule).loaded);
}

TEST_F(DriverTest, WhatAFailedEntryHoldsIsLeftOver) {
  live(&fail_with_device);
  EXPECT_EQ(left_overs(), (std::vector<Left>{{ObjectKind::kDevice, false}}));
}

TEST_F(DriverTest, WithoutDriverUnloadTheModuleStays) {
  live(&enter_without_unload);
  EXPECT_FALSE(driver().can_unload());
  EXPECT_EQ(life(), (std::vector{EventKind::kDriverEntryEnter, EventKind::kDriverEntryExit}));
  EXPECT_TRUE(kernel.module(kModule).loaded);
}

TEST_F(DriverTest, ResetGivesAFreshDriverObject) {
  live(&enter_plainly, 1, true);
  EXPECT_TRUE(driver().can_unload());
  driver().reset();
  EXPECT_FALSE(driver().can_unload());
}

TEST_F(DriverTest, TheImageStaysUntilWorkItemsOfItsDeviceHaveReturned) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    live(&enter_with_device, seed);
    const std::vector<EventKind> happened = life();
    ASSERT_EQ(happened.back(), EventKind::kImageGone) << "seed " << seed;
    const auto ended = std::find(happened.begin(), happened.end(), EventKind::kWorkEnded);
    ASSERT_NE(ended, happened.end()) << "seed " << seed;
    ASSERT_TRUE(left_overs().empty()) << "seed " << seed;
    ASSERT_TRUE(breaches().empty()) << "seed " << seed;
  }
}

TEST_F(DriverTest, WhatUnloadLeavesBehind) {
  struct Case {
    const char* name;
    DRIVER_UNLOAD* unload;
    std::vector<Left> expected;
  };
  const Case cases[] = {
      {"nothing", [](PDRIVER_OBJECT) {}, {}},
      {"a device", &leave_device, {{ObjectKind::kDevice, false}}},
      {"a set timer", &leave_timer, {{ObjectKind::kNotificationTimer, true}}},
      {"what runs comes first",
       &leave_timer_and_device,
       {{ObjectKind::kNotificationTimer, true}, {ObjectKind::kDevice, false}}},
  };
  for (const Case& each : cases) {
    live_until(each.unload);
    EXPECT_EQ(left_overs(), each.expected) << each.name;
  }
}

// Running or only queued when the image goes: in either case the module's code would be called.
TEST_F(DriverTest, ThreadsAndExecutiveWorkItemsHoldNothing) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    live_until(&leave_thread, seed);
    ASSERT_FALSE(left_overs().empty());
    ASSERT_EQ(left_overs().front(), (Left{ObjectKind::kThread, true})) << "seed " << seed;
    live_until(&leave_executive_item, seed);
    ASSERT_FALSE(left_overs().empty());
    ASSERT_EQ(left_overs().front(), (Left{ObjectKind::kWorkItem, true})) << "seed " << seed;
  }
}

// A thread of somebody else, say of a peer that called back, that has not left the module yet.
TEST_F(DriverTest, AForeignThreadInsideIsLeftOver) {
  variables = {};
  begin(1);
  Driver driver(kernel, kModule, reinterpret_cast<void*>(&enter_plainly));
  driver.reset();
  kernel.spawn(
      schedule::ThreadRole::kLoader,
      [](void* argument) {
        auto& self = *static_cast<Driver*>(argument);
        self.enter();
        kernel::Kernel& kernel = kernel::current_kernel();
        kernel.spawn(
            schedule::ThreadRole::kPeer,
            [](void*) {
              kernel::current_kernel().call_into(kModule, Routine::ClientDetachProvider,
                                                 [] { wait_for_ever(nullptr); });
            },
            nullptr, kernel::kPassiveLevel);
        KeInitializeEvent(&variables.never, NotificationEvent, FALSE);
        kernel.scheduler().wait_until_idle();
        self.unload();
      },
      &driver, kernel::kPassiveLevel);
  finish();
  EXPECT_EQ(left_overs(), (std::vector<Left>{{ObjectKind::kThread, true}}));
  EXPECT_EQ(events(EventKind::kLeftOver).front().object, 0U);
}

// --- Loaded again ---------------------------------------------------------------------------------------------------

constexpr const char* kShortLived = R"(
#include <ntddk.h>
int Lives = 0;
static KEVENT Ended;
static PVOID Block;
static void Unload(PDRIVER_OBJECT Driver) {
  KeWaitForSingleObject(&Ended, Executive, KernelMode, FALSE, NULL);
  ExFreePool(Block);
}
static void Run(PVOID Context) {
  KeSetEvent(&Ended, IO_NO_INCREMENT, FALSE);
}
NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
  HANDLE Thread;
  ++Lives;
  if (Block != NULL || Driver->DriverUnload != NULL) {
    return STATUS_UNSUCCESSFUL;
  }
  Driver->DriverUnload = Unload;
  KeInitializeEvent(&Ended, NotificationEvent, FALSE);
  Block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'efiL');
  PsCreateSystemThread(&Thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Run, NULL);
  return ZwClose(Thread);
}
)";

class ReloadTest : public DriverTest, protected ModuleTools {
 protected:
  // Three lives of one module in one execution; the number of those that began.
  int live_three_times(Image& image, std::uint64_t seed) {
    begin(seed);
    kernel.module(kModule) = {};
    Driver driver(kernel, kModule, image.entry());
    image.reset();
    driver.reset();
    Lives lives{driver, image};
    kernel.spawn(schedule::ThreadRole::kLoader, &ReloadTest::load_three_times, &lives, kernel::kPassiveLevel);
    finish();
    return lives.begun;
  }

 private:
  struct Lives {
    Driver& driver;
    Image& image;
    int begun = 0;
  };
  static void load_three_times(void* argument) {
    constexpr int kLives = 3;
    auto& lives = *static_cast<Lives*>(argument);
    for (;;) {
      ++lives.begun;
      if (!kernel::succeeded(lives.driver.enter())) {
        return;
      }
      lives.driver.unload();
      if (lives.begun == kLives || !lives.driver.can_reload()) {
        return;
      }
      lives.driver.reload(lives.image);
    }
  }
};

TEST_F(ReloadTest, EachLifeIsLikeTheFirst) {
  const auto image = ModuleTools::load("short-lived.c", kShortLived);
  ASSERT_NE(image, nullptr);
  const std::vector one_life = {EventKind::kDriverEntryEnter, EventKind::kDriverEntryExit, EventKind::kUnloadEnter,
                                EventKind::kUnloadExit, EventKind::kImageGone};
  int complete = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const int begun = live_three_times(*image, seed);
    ASSERT_TRUE(breaches().empty()) << "seed " << seed;
    ASSERT_EQ(*find<int*>(*image, "Lives"), 1) << "seed " << seed;
    std::vector<EventKind> happened = life();
    // A thread that had yet to return when the image went, so that the module was not loaded again.
    const bool tail = std::count(happened.begin(), happened.end(), EventKind::kLeftOver) != 0;
    ASSERT_EQ(begun == 3 && !tail, !tail) << "seed " << seed;
    std::erase(happened, EventKind::kWorkEnded);
    std::erase(happened, EventKind::kLeftOver);
    ASSERT_EQ(happened.size(), one_life.size() * static_cast<std::size_t>(begun)) << "seed " << seed;
    for (std::size_t i = 0; i < happened.size(); ++i) {
      ASSERT_EQ(happened[i], one_life[i % one_life.size()]) << "seed " << seed;
    }
    complete += begun == 3 ? 1 : 0;
  }
  EXPECT_GT(complete, 0);
  EXPECT_LT(complete, 100) << "a thread of the module was never late";
}

TEST_F(ReloadTest, NotWhileSomethingCanRun) {
  live_until(&leave_timer);
  EXPECT_FALSE(driver().can_reload());
  live_until(&leave_thread);
  EXPECT_FALSE(driver().can_reload());
  live(&enter_plainly, 1, true);
  EXPECT_FALSE(driver().can_reload()) << "it is still loaded";
  live(&enter_plainly);
  EXPECT_TRUE(driver().can_reload());
  live(&fail_to_enter);
  EXPECT_TRUE(driver().can_reload()) << "a driver whose entry failed may be started again";
}

constexpr std::size_t kBytes = 16;
constexpr ULONG kTag = 0x74736574;

// Writes where the sanitizer build would not let us.
[[gnu::no_sanitize_address]] void scribble(void* address, std::size_t offset) {
  static_cast<volatile char*>(address)[offset] = 1;
}

TEST_F(DriverTest, DamagedMemoryIsFoundWhenTheImageGoes) {
  struct Case {
    const char* name;
    DRIVER_UNLOAD* unload;
    trace::Outcome expected;
  };
  constexpr Case kCases[] = {
      {"overflow", [](PDRIVER_OBJECT) { scribble(ExAllocatePool2(POOL_FLAG_NON_PAGED, kBytes, kTag), kBytes); },
       trace::Outcome::kOverflow},
      {"written after free",
       [](PDRIVER_OBJECT) {
         void* const block = ExAllocatePool2(POOL_FLAG_NON_PAGED, kBytes, kTag);
         ExFreePool(block);
         scribble(block, 0);
       },
       trace::Outcome::kWrittenAfterFree},
  };
  for (const Case& each : kCases) {
    live_until(each.unload);
    ASSERT_EQ(outcomes().size(), 1U) << each.name;
    EXPECT_EQ(outcomes().front(), each.expected) << each.name;
    EXPECT_EQ(breaches().front().object, 1U) << each.name;
    EXPECT_EQ(breaches().front().routine, static_cast<trace::RoutineNumber>(Routine::DriverUnload)) << each.name;
  }
}

}  // namespace
}  // namespace nmrfuzz::module
