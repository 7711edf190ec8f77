#include <ntddk.h>

#include <functional>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kSeeds = 200;

class WorkItemTest : public KernelFixture {
 protected:
  std::function<void(PIO_WORKITEM)> routine_ = [](PIO_WORKITEM) {};
  DRIVER_OBJECT driver_{};
  PDEVICE_OBJECT device_ = nullptr;
  PIO_WORKITEM item_ = nullptr;

  static void call(PVOID, PVOID context, PIO_WORKITEM item) { static_cast<WorkItemTest*>(context)->routine_(item); }
  static void call_plain(PDEVICE_OBJECT device, PVOID context) {
    auto* const self = static_cast<WorkItemTest*>(context);
    EXPECT_EQ(device, self->device_);
    self->routine_(self->item_);
  }
  static void call_executive(PVOID context) { static_cast<WorkItemTest*>(context)->routine_(nullptr); }

  void create() {
    driver_ = {};
    ASSERT_EQ(IoCreateDevice(&driver_, 0, nullptr, FILE_DEVICE_UNKNOWN, 0, FALSE, &device_), kStatusSuccess);
    item_ = IoAllocateWorkItem(device_);
  }
  void queue() { IoQueueWorkItemEx(item_, &call, DelayedWorkQueue, this); }
};

TEST_F(WorkItemTest, RunsOnAnotherThreadAtPassiveLevel) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    PKTHREAD queuer = nullptr;
    routine_ = [&](PIO_WORKITEM item) {
      ++runs;
      EXPECT_EQ(item, item_);
      EXPECT_EQ(KeGetCurrentIrql(), PASSIVE_LEVEL);
      EXPECT_NE(KeGetCurrentThread(), queuer);
    };
    run(seed, [&] {
      create();
      queuer = KeGetCurrentThread();
      const KIRQL old = KeRaiseIrqlToDpcLevel();
      IoQueueWorkItem(item_, &call_plain, DelayedWorkQueue, this);
      KeLowerIrql(old);
    });
    EXPECT_EQ(runs, 1);
    EXPECT_TRUE(breaches().empty());
  }
}

TEST_F(WorkItemTest, MayBeFreedAndQueuedAgainFromItsOwnRoutine) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    routine_ = [&](PIO_WORKITEM) {
      if (++runs == 1) {
        queue();
      } else {
        IoFreeWorkItem(item_);
      }
    };
    run(seed, [&] {
      create();
      queue();
    });
    EXPECT_EQ(runs, 2);
    EXPECT_TRUE(breaches().empty()) << "seed " << seed;
    EXPECT_EQ(kernel.module(kModule).image_holders, 0U);
  }
}

TEST_F(WorkItemTest, HoldsTheImageAndTheDeviceUntilItHasReturned) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    routine_ = [&](PIO_WORKITEM) {
      EXPECT_EQ(kernel.module(kModule).image_holders, 1U);
      IoFreeWorkItem(item_);
      EXPECT_EQ(device_->DriverObject, &driver_) << "deleted, but still there";
    };
    bool unloaded = false;
    begin(seed);
    const auto loader = [&] {
      create();
      queue();
      IoDeleteDevice(device_);
      ModuleState& module = kernel.module(kModule);
      module.unload_waiter = scheduler.current().number;
      module.unloading = true;
      if (module.image_holders != 0) {
        scheduler.block(0);
      }
      EXPECT_EQ(module.image_holders, 0U);
      EXPECT_EQ(module.inside, 1U) << "only this body";
      unloaded = true;
    };
    start(loader);
    EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
    EXPECT_TRUE(unloaded);
    EXPECT_TRUE(breaches().empty()) << "seed " << seed;
    EXPECT_NE(kernel.pool().check(device_, 1), Outcome::kOk) << "the device went with the last work item";
  }
}

// What each misuse leads to when the item has not run yet; it must be seen in some schedule and nothing else ever.
struct Misuse {
  const char* name;
  std::function<void(PIO_WORKITEM, const std::function<void()>& queue)> act;
  Outcome outcome;
};

class WorkItemMisuseTest : public WorkItemTest, public ::testing::WithParamInterface<Misuse> {};

TEST_P(WorkItemMisuseTest, IsABreachWhileItIsQueued) {
  std::set<std::vector<Outcome>> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] {
      create();
      queue();
      GetParam().act(item_, [&] { queue(); });
    });
    found.insert(outcomes());
    EXPECT_EQ(kernel.module(kModule).image_holders, 0U);
  }
  EXPECT_EQ(found, (std::set<std::vector<Outcome>>{{}, {GetParam().outcome}}));
}

INSTANTIATE_TEST_SUITE_P(
    All, WorkItemMisuseTest,
    ::testing::Values(Misuse{"queued_twice", [](PIO_WORKITEM, const std::function<void()>& queue) { queue(); },
                             Outcome::kQueuedTwice},
                      Misuse{"freed", [](PIO_WORKITEM item, const std::function<void()>&) { IoFreeWorkItem(item); },
                             Outcome::kFreedWhileQueued}),
    [](const auto& info) { return info.param.name; });

TEST_F(WorkItemTest, FreeingTwiceAndQueueingAFreedItemAreBreaches) {
  run(1, [&] {
    create();
    IoFreeWorkItem(item_);
    IoFreeWorkItem(item_);
    queue();
  });
  EXPECT_EQ(outcomes(), (std::vector<Outcome>{Outcome::kDeletedTwice, Outcome::kFreedObject}));
}

TEST_F(WorkItemTest, AnItemInTheDriversMemoryIsInitialisedAndUninitialised) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    routine_ = [&](PIO_WORKITEM item) {
      ++runs;
      IoUninitializeWorkItem(item);
      ExFreePoolWithTag(item, 'meti');
    };
    run(seed, [&] {
      create();
      IoFreeWorkItem(item_);
      item_ = static_cast<PIO_WORKITEM>(ExAllocatePool2(POOL_FLAG_NON_PAGED, IoSizeofWorkItem(), 'meti'));
      IoInitializeWorkItem(&driver_, item_);  // a driver object is as good as a device
      queue();
    });
    EXPECT_EQ(runs, 1);
    EXPECT_TRUE(breaches().empty()) << "seed " << seed;
    EXPECT_EQ(kernel.module(kModule).image_holders, 0U);
  }
}

TEST_F(WorkItemTest, AllocationFailsWhenFaultsAreOn) {
  options.faults = true;
  std::set<bool> failed;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] { failed.insert(IoAllocateWorkItem(reinterpret_cast<PDEVICE_OBJECT>(&driver_)) == nullptr); });
  }
  EXPECT_EQ(failed, (std::set<bool>{false, true}));
}

TEST_F(WorkItemTest, AnExecutiveItemMayBeFreedByItsRoutineAndHoldsNothing) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    PWORK_QUEUE_ITEM item = nullptr;
    routine_ = [&](PIO_WORKITEM) {
      ++runs;
      EXPECT_EQ(kernel.module(kModule).image_holders, 0U);
      ExFreePoolWithTag(item, 'meti');
    };
    run(seed, [&] {
      item = static_cast<PWORK_QUEUE_ITEM>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof *item, 'meti'));
      ExInitializeWorkItem(item, &call_executive, this);
      ExQueueWorkItem(item, DelayedWorkQueue);
    });
    EXPECT_EQ(runs, 1);
    EXPECT_TRUE(breaches().empty()) << "seed " << seed;
  }
}

TEST_F(WorkItemTest, AnExecutiveItemIsQueuedOnceAtATime) {
  std::set<std::vector<Outcome>> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    WORK_QUEUE_ITEM item{};
    routine_ = [&](PIO_WORKITEM) { ++runs; };
    run(seed, [&] {
      ExInitializeWorkItem(&item, &call_executive, this);
      ExQueueWorkItem(&item, DelayedWorkQueue);
      ExQueueWorkItem(&item, DelayedWorkQueue);
    });
    EXPECT_EQ(runs, breaches().empty() ? 2 : 1);
    found.insert(outcomes());
  }
  EXPECT_EQ(found, (std::set<std::vector<Outcome>>{{}, {Outcome::kQueuedTwice}}));
}

TEST_F(WorkItemTest, TheSameSeedGivesTheSameTraceAgain) {
  routine_ = [&](PIO_WORKITEM) { IoFreeWorkItem(item_); };
  const auto body = [&] {
    create();
    queue();
    IoDeleteDevice(device_);
  };
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, body);
    const trace::TraceHash first = recorder.hash();
    run(seed, body);
    EXPECT_EQ(recorder.hash(), first) << "seed " << seed;
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
