// Each pair of tests: an idiom that orders two threads' accesses of one variable, and the same with one step missing.
#include "race/happens_before.h"

#include <ntddk.h>

#include "race/race_fixture.h"

namespace nmrfuzz::race {
namespace {

class HappensBeforeTest : public RaceFixture {
 protected:
  int data = 0;
  LONG flag = 0;
};

TEST_F(HappensBeforeTest, NothingOrdersTwoThreads) {
  const auto writer = [&] { write(data); };
  EXPECT_EQ(races(writer, writer), kSchedules);  // both orders: it is no matter of timing
}

TEST_F(HappensBeforeTest, SpinLock) {
  KSPIN_LOCK lock = 0;
  KSPIN_LOCK another = 0;
  const auto body = [this](KSPIN_LOCK& with) {
    return [this, &with] {
      KIRQL level = KeAcquireSpinLockRaiseToDpc(&with);
      write(data);
      KeReleaseSpinLock(&with, level);
    };
  };
  const auto count = [&](const auto& first, const auto& second) {
    return races_after([&] { lock = another = 0; }, first, second);
  };
  EXPECT_EQ(count(body(lock), body(lock)), 0);
  EXPECT_GT(count(body(lock), body(another)), 0);
}

TEST_F(HappensBeforeTest, SharedHoldersOfAPushLockAreNotOrderedAmongThemselves) {
  EX_PUSH_LOCK lock = {};
  const auto exclusive = [&] {
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&lock);
    write(data);
    ExReleasePushLockExclusive(&lock);
    KeLeaveCriticalRegion();
  };
  const auto shared = [&](bool writes) {
    return [&, writes] {
      KeEnterCriticalRegion();
      ExAcquirePushLockShared(&lock);
      touch(data, AccessKind::kPlain, writes);
      ExReleasePushLockShared(&lock);
      KeLeaveCriticalRegion();
    };
  };
  const auto fresh = [&] { ExInitializePushLock(&lock); };
  EXPECT_EQ(races_after(fresh, exclusive, shared(false)), 0);
  EXPECT_EQ(races_after(fresh, shared(true), shared(true)), kSchedules);
}

TEST_F(HappensBeforeTest, Event) {
  KEVENT event;
  const auto setter = [&] {
    write(data);
    KeSetEvent(&event, 0, FALSE);
  };
  const auto hasty = [&] {
    KeSetEvent(&event, 0, FALSE);
    write(data);
  };
  const auto waiter = [&] {
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, nullptr);
    read(data);
  };
  const auto fresh = [&] { KeInitializeEvent(&event, NotificationEvent, FALSE); };
  EXPECT_EQ(races_after(fresh, setter, waiter), 0);
  EXPECT_GT(races_after(fresh, hasty, waiter), 0);
}

TEST_F(HappensBeforeTest, OneOfSeveralObjectsOrdersOnlyWithWhoSetIt) {
  KEVENT events[2];
  const auto body = [&](int index) {
    return [&, index] {
      write(data);
      KeSetEvent(&events[index], 0, FALSE);
    };
  };
  int second_value = 0;
  const auto other = [&] {
    write(second_value);
    KeSetEvent(&events[1], 0, FALSE);
  };
  const auto wait_for = [&](WAIT_TYPE type) {
    return [&, type] {
      void* objects[] = {&events[0], &events[1]};
      const NTSTATUS status =
          KeWaitForMultipleObjects(2, objects, type, Executive, KernelMode, FALSE, nullptr, nullptr);
      if (type == WaitAll || status == STATUS_WAIT_0) {
        read(data);
      }
      if (type == WaitAll || status == STATUS_WAIT_1) {
        read(second_value);
      }
    };
  };
  const auto count = [&](const auto& waiter) {
    const auto fresh = [&] {
      KeInitializeEvent(&events[0], NotificationEvent, FALSE);
      KeInitializeEvent(&events[1], NotificationEvent, FALSE);
    };
    return races_after(fresh, body(0), other, waiter);
  };
  EXPECT_EQ(count(wait_for(WaitAll)), 0);
  EXPECT_EQ(count(wait_for(WaitAny)), 0);
  // Awaits one, reads what the other one guards.
  EXPECT_GT(count([&] {
              void* objects[] = {&events[0], &events[1]};
              KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, nullptr, nullptr);
              read(data);
              read(second_value);
            }),
            0);
}

TEST_F(HappensBeforeTest, InterlockedFlagPublishes) {
  const auto reset_flag = [&](const auto& writer, const auto& reader) {
    return races_after([&] { flag = 0; }, writer, reader);
  };
  const auto publish = [&] {
    write(data);
    InterlockedExchange(&flag, 1);
  };
  const auto publish_late = [&] {
    InterlockedExchange(&flag, 1);
    write(data);
  };
  const auto publish_released = [&] {
    write(data);
    WriteRelease(&flag, 1);
  };
  const auto publish_unfenced = [&] {
    write(data);
    WriteNoFence(&flag, 1);
  };
  const auto consume = [&] {
    if (ReadAcquire(&flag) != 0) {
      read(data);
    }
  };
  const auto consume_unfenced = [&] {
    if (ReadNoFence(&flag) != 0) {
      read(data);
    }
  };
  const auto fenced = [&] {
    write(data);
    KeMemoryBarrier();
    WriteNoFence(&flag, 1);
  };
  const auto consume_fenced = [&] {
    if (ReadNoFence(&flag) != 0) {
      KeMemoryBarrier();
      read(data);
    }
  };
  EXPECT_EQ(reset_flag(publish, consume), 0);
  EXPECT_GT(reset_flag(publish_late, consume), 0);
  EXPECT_EQ(reset_flag(publish_released, consume), 0);
  EXPECT_GT(reset_flag(publish_unfenced, consume), 0);
  EXPECT_GT(reset_flag(publish_released, consume_unfenced), 0);
  EXPECT_EQ(reset_flag(fenced, consume_fenced), 0);
  EXPECT_EQ(reset_flag(fenced, consume), 0);
  EXPECT_EQ(reset_flag(publish_released, consume_fenced), 0);
  EXPECT_GT(reset_flag(fenced, consume_unfenced), 0);
}

TEST_F(HappensBeforeTest, VolatileOrdersNothingWithoutBarriers) {
  bool published = false;
  const auto count = [&](bool barriers) {
    const auto writer = [&] {
      write(data);
      if (barriers) {
        KeMemoryBarrier();
      }
      touch(flag, AccessKind::kVolatile, true);
      published = true;
    };
    const auto reader = [&] {
      touch(flag, AccessKind::kVolatile, false);
      if (published) {
        if (barriers) {
          KeMemoryBarrier();
        }
        read(data);
      }
    };
    return races_after([&] { published = false; }, writer, reader);
  };
  EXPECT_EQ(count(true), 0);
  EXPECT_GT(count(false), 0);
}

TEST_F(HappensBeforeTest, RundownProtectionOrdersHoldersBeforeTheWaitOnly) {
  EX_RUNDOWN_REF rundown;
  const auto holder = [&] {
    if (ExAcquireRundownProtection(&rundown)) {
      write(data);
      ExReleaseRundownProtection(&rundown);
    }
  };
  const auto closer = [&] {
    ExWaitForRundownProtectionRelease(&rundown);
    write(data);
  };
  const auto fresh = [&] { ExInitializeRundownProtection(&rundown); };
  EXPECT_EQ(races_after(fresh, holder, closer), 0);
  EXPECT_EQ(races_after(fresh, holder, holder), kSchedules);
}

VOID count_in_dpc(PKDPC, PVOID context, PVOID, PVOID) {
  Accesses& accesses = *accesses_in_force;
  const std::uint64_t ordinal = accesses.reach(context, sizeof(int), AccessKind::kPlain, true);
  accesses.make(ordinal, context, sizeof(int), AccessKind::kPlain, true);
}

TEST_F(HappensBeforeTest, DpcComesAfterItsQueueingAndBeforeAFlush) {
  accesses_in_force = &accesses;
  KDPC dpc;
  const auto queue = [&] {
    KeInitializeDpc(&dpc, &count_in_dpc, &data);
    write(data);
    KeInsertQueueDpc(&dpc, nullptr, nullptr);
  };
  EXPECT_EQ(races([&] {
              queue();
              KeFlushQueuedDpcs();
              write(data);
            }),
            0);
  EXPECT_GT(races([&] {
              queue();
              write(data);
            }),
            0);
  accesses_in_force = nullptr;
}

TEST_F(HappensBeforeTest, ATimersDpcComesAfterWhoSetTheTimer) {
  accesses_in_force = &accesses;
  KDPC dpc;
  KTIMER timer;
  const auto count = [&](bool late) {
    const auto body = [&] {
      KeInitializeDpc(&dpc, &count_in_dpc, &data);
      KeInitializeTimer(&timer);
      LARGE_INTEGER due;
      due.QuadPart = -1;
      if (!late) {
        write(data);
      }
      KeSetTimer(&timer, due, &dpc);
      if (late) {
        write(data);
      }
    };
    return races(body);
  };
  EXPECT_EQ(count(false), 0);
  EXPECT_GT(count(true), 0);
  accesses_in_force = nullptr;
}

VOID write_in_thread(PVOID context) { count_in_dpc(nullptr, context, nullptr, nullptr); }

TEST_F(HappensBeforeTest, AThreadComesAfterItsCreatorAndBeforeWhoAwaitsItsEnd) {
  accesses_in_force = &accesses;
  const auto count = [&](bool joins) {
    const auto body = [&] {
      HANDLE handle = nullptr;
      PVOID thread = nullptr;
      write(data);
      PsCreateSystemThread(&handle, 0, nullptr, nullptr, nullptr, &write_in_thread, &data);
      ObReferenceObjectByHandle(handle, 0, nullptr, KernelMode, &thread, nullptr);
      ZwClose(handle);
      if (joins) {
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, nullptr);
      }
      write(data);
      ObDereferenceObject(thread);
    };
    return races(body);
  };
  EXPECT_EQ(count(true), 0);
  EXPECT_GT(count(false), 0);
  accesses_in_force = nullptr;
}

TEST_F(HappensBeforeTest, ThreadsBeyondTheSlotsAreNoFalseAlarm) {
  KSPIN_LOCK lock = 0;
  const auto body = [&] {
    KIRQL level = KeAcquireSpinLockRaiseToDpc(&lock);
    write(data);
    KeReleaseSpinLock(&lock, level);
  };
  begin(1);
  for (std::size_t i = 0; i < 3 * kSlots; ++i) {
    start(body);
  }
  EXPECT_EQ(finish(), schedule::EndReason::kAllEnded);
  EXPECT_FALSE(raced());
}

}  // namespace
}  // namespace nmrfuzz::race
