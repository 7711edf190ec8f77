#include "kernel/left_over.h"

#include <ntddk.h>

#include <functional>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

using Kinds = std::multiset<ObjectKind>;

class LeftOverTest : public KernelFixture {
 public:
  using Walk = LeftOver (*)(Kernel&, ModuleNumber, LeftOverCursor&);

  Kinds all(Walk walk, ModuleNumber module = kModule) {
    Kinds kinds;
    LeftOverCursor cursor;
    while (const LeftOver left_over = walk(kernel, module, cursor)) {
      kinds.insert(left_over.kind);
    }
    return kinds;
  }
  Kinds left_over() { return all(&next_left_over); }
  Kinds running() { return all(&next_running); }
};

void no_dpc(PKDPC, PVOID, PVOID, PVOID) {}
void no_timer(PEX_TIMER, PVOID) {}
void no_thread(PVOID) {}

TEST_F(LeftOverTest, ResourcesCountUntilTheyAreGivenBack) {
  run(1, [&] {
    DRIVER_OBJECT driver{};
    PDEVICE_OBJECT device = nullptr;
    IoCreateDevice(&driver, 0, nullptr, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
    UNICODE_STRING name;
    RtlInitUnicodeString(&name, L"\\DosDevices\\Sample");
    IoCreateSymbolicLink(&name, &name);
    const PIO_WORKITEM item = IoAllocateWorkItem(device);
    const PEX_TIMER timer = ExAllocateTimer(&no_timer, nullptr, 0);
    HANDLE handle = nullptr;
    PsCreateSystemThread(&handle, 0, nullptr, nullptr, nullptr, &no_thread, nullptr);
    PVOID thread = nullptr;
    ObReferenceObjectByHandle(handle, 0, nullptr, KernelMode, &thread, nullptr);
    EXPECT_EQ(left_over(), (Kinds{ObjectKind::kDevice, ObjectKind::kSymbolicLink, ObjectKind::kIoWorkItem,
                                  ObjectKind::kExTimer, ObjectKind::kThreadHandle, ObjectKind::kThread}));
    EXPECT_EQ(all(&next_left_over, kModule + 1), Kinds{});

    IoFreeWorkItem(item);
    ExDeleteTimer(timer, TRUE, TRUE, nullptr);
    ZwClose(handle);
    EXPECT_EQ(left_over(), (Kinds{ObjectKind::kDevice, ObjectKind::kSymbolicLink, ObjectKind::kThread}));
    ObDereferenceObject(thread);
    ObReferenceObject(device);
    IoDeleteDevice(device);
    IoDeleteSymbolicLink(&name);
    EXPECT_EQ(left_over(), Kinds{ObjectKind::kDevice}) << "a reference is held";
    ObDereferenceObject(device);
    EXPECT_EQ(left_over(), Kinds{});
  });
  EXPECT_TRUE(breaches().empty());
}

TEST_F(LeftOverTest, SetTimersAreRunning) {
  run(1, [&] {
    KTIMER timer;
    KeInitializeTimer(&timer);
    const PEX_TIMER ex_timer = ExAllocateTimer(&no_timer, nullptr, 0);
    LARGE_INTEGER due;
    due.QuadPart = -1'000'000;
    EXPECT_EQ(running(), Kinds{});
    KeSetTimerEx(&timer, due, 100, nullptr);
    ExSetTimer(ex_timer, due.QuadPart, due.QuadPart * -1, nullptr);
    const Kinds set = running();
    EXPECT_EQ(set.count(ObjectKind::kNotificationTimer), 1U);
    EXPECT_GE(set.count(ObjectKind::kExTimer), 1U);
    EXPECT_EQ(all(&next_running, kModule + 1), Kinds{});
    KeCancelTimer(&timer);
    ExDeleteTimer(ex_timer, TRUE, TRUE, nullptr);
    EXPECT_EQ(running(), Kinds{});
  });
}

// A DPC counts from its queueing to its return, even if it frees its KDPC in between.
TEST_F(LeftOverTest, DpcsAreRunningUntilTheyHaveReturned) {
  struct Shared {
    LeftOverTest* test;
    KEVENT event;
  };
  std::set<std::size_t> seen;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Shared shared{this, {}};
    run(seed, [&] {
      KeInitializeEvent(&shared.event, NotificationEvent, FALSE);
      auto* const dpc = static_cast<PKDPC>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(KDPC), 'cpD1'));
      KeInitializeDpc(
          dpc,
          [](PKDPC self, PVOID context, PVOID, PVOID) {
            auto& state = *static_cast<Shared*>(context);
            ExFreePoolWithTag(self, 'cpD1');
            EXPECT_EQ(state.test->running(), Kinds{ObjectKind::kDpc});
            KeSetEvent(&state.event, 0, FALSE);
          },
          &shared);
      KeInsertQueueDpc(dpc, nullptr, nullptr);
      KeWaitForSingleObject(&shared.event, Executive, KernelMode, FALSE, nullptr);
      seen.insert(running().size());
      KeFlushQueuedDpcs();
      EXPECT_EQ(running(), Kinds{});
    });
    EXPECT_TRUE(breaches().empty());
  }
  EXPECT_EQ(seen, (std::set<std::size_t>{0, 1})) << "the event alone proves nothing";
}

TEST_F(LeftOverTest, QueuedWorkIsRunningUnlessItHoldsTheImage) {
  std::set<Kinds> seen;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    run(seed, [&] {
      KDPC dpc;
      KeInitializeDpc(&dpc, &no_dpc, nullptr);
      WORK_QUEUE_ITEM executive{};
      ExInitializeWorkItem(&executive, &no_thread, nullptr);
      DRIVER_OBJECT driver{};
      const PIO_WORKITEM item = IoAllocateWorkItem(reinterpret_cast<PDEVICE_OBJECT>(&driver));
      IoQueueWorkItem(item, [](PDEVICE_OBJECT, PVOID) {}, DelayedWorkQueue, nullptr);
      KeInsertQueueDpc(&dpc, nullptr, nullptr);
      ExQueueWorkItem(&executive, DelayedWorkQueue);
      seen.insert(running());
      LARGE_INTEGER time;
      time.QuadPart = -1;
      while (!running().empty() || kernel.module(kModule).image_holders != 0) {
        KeDelayExecutionThread(KernelMode, FALSE, &time);
      }
      IoFreeWorkItem(item);
    });
  }
  EXPECT_EQ(seen, (std::set<Kinds>{
                      {}, {ObjectKind::kDpc}, {ObjectKind::kWorkItem}, {ObjectKind::kDpc, ObjectKind::kWorkItem}}));
}

TEST_F(LeftOverTest, ASystemThreadIsRunningUntilItEnds) {
  run(1, [&] {
    HANDLE handle = nullptr;
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    PsCreateSystemThread(
        &handle, 0, nullptr, nullptr, nullptr,
        [](PVOID context) { KeWaitForSingleObject(context, Executive, KernelMode, FALSE, nullptr); }, &event);
    EXPECT_EQ(running(), Kinds{ObjectKind::kThread});
    PVOID thread = nullptr;
    ObReferenceObjectByHandle(handle, 0, nullptr, KernelMode, &thread, nullptr);
    KeSetEvent(&event, 0, FALSE);
    KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, nullptr);
    EXPECT_EQ(running(), Kinds{});
  });
}

}  // namespace
}  // namespace nmrfuzz::kernel
