#include <ntddk.h>

#include <functional>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kSeeds = 200;

class ThreadTest : public KernelFixture {
 protected:
  std::function<void()> routine_ = [] {};
  HANDLE handle_ = nullptr;

  static void call(PVOID context) { static_cast<ThreadTest*>(context)->routine_(); }
  NTSTATUS create() {
    return PsCreateSystemThread(&handle_, THREAD_ALL_ACCESS, nullptr, nullptr, nullptr, &call, this);
  }
  // The thread object behind the handle, referenced.
  PKTHREAD reference() {
    PVOID thread = nullptr;
    EXPECT_EQ(ObReferenceObjectByHandle(handle_, THREAD_ALL_ACCESS, *PsThreadType, KernelMode, &thread, nullptr),
              kStatusSuccess);
    return static_cast<PKTHREAD>(thread);
  }
};

// When the wait for the thread object is over, the thread has left the module: what unload relies on.
TEST_F(ThreadTest, TheObjectIsSignalledWhenTheModulesCodeHasBeenLeft) {
  for (const bool terminates : {false, true}) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      KEVENT event;
      routine_ = [&] {
        KeSetEvent(&event, 0, FALSE);
        if (terminates) {
          PsTerminateSystemThread(kStatusSuccess);
          ADD_FAILURE() << "came back";
        }
      };
      const auto end = run(seed, [&] {
        KeInitializeEvent(&event, NotificationEvent, FALSE);
        ASSERT_EQ(create(), kStatusSuccess);
        const PKTHREAD thread = reference();
        EXPECT_EQ(ZwClose(handle_), kStatusSuccess);
        EXPECT_EQ(KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, nullptr), kStatusSuccess);
        EXPECT_EQ(kernel.module(kModule).inside, 1U) << "only this body";
        ObDereferenceObject(thread);
        EXPECT_NE(kernel.pool().check(thread, 1), Outcome::kOk);
      });
      EXPECT_EQ(end, schedule::EndReason::kAllEnded);
      EXPECT_TRUE(breaches().empty()) << "seed " << seed;
    }
  }
}

// The bug: an event that the thread sets last is no proof that it has returned.
TEST_F(ThreadTest, AnEventSetByTheThreadDoesNotMeanThatItHasReturned) {
  std::set<std::uint32_t> inside;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    KEVENT event;
    routine_ = [&] { KeSetEvent(&event, 0, FALSE); };
    run(seed, [&] {
      KeInitializeEvent(&event, NotificationEvent, FALSE);
      create();
      KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, nullptr);
      inside.insert(kernel.module(kModule).inside);
    });
  }
  EXPECT_EQ(inside, (std::set<std::uint32_t>{1, 2}));
}

TEST_F(ThreadTest, WaitingForAnObjectThatIsGoneIsABreach) {
  std::set<std::vector<Outcome>> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] {
      create();
      const PKTHREAD thread = reference();
      ZwClose(handle_);
      ObDereferenceObject(thread);
      KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, nullptr);
    });
    found.insert(outcomes());
  }
  EXPECT_EQ(found, (std::set<std::vector<Outcome>>{{}, {Outcome::kFreedAccess}, {Outcome::kFreedObject}}));
}

TEST_F(ThreadTest, HandlesAreNoPointersAndGoStale) {
  run(1, [&] {
    create();
    EXPECT_GT(reinterpret_cast<std::uintptr_t>(handle_), std::uintptr_t{1} << 63);
    PVOID object = this;
    EXPECT_EQ(ObReferenceObjectByHandle(handle_, 0, *ExEventObjectType, KernelMode, &object, nullptr),
              kStatusObjectTypeMismatch);
    EXPECT_EQ(object, nullptr);
    EXPECT_EQ(ZwClose(handle_), kStatusSuccess);
    EXPECT_TRUE(breaches().empty());
    EXPECT_EQ(ZwClose(handle_), kStatusInvalidHandle);
    EXPECT_EQ(ZwClose(nullptr), kStatusInvalidHandle);
    EXPECT_EQ(ObReferenceObjectByHandle(this, 0, nullptr, KernelMode, &object, nullptr), kStatusInvalidHandle);
  });
  EXPECT_EQ(outcomes(), (std::vector<Outcome>{Outcome::kStaleHandle, Outcome::kNullArgument, Outcome::kStaleHandle}));
}

TEST_F(ThreadTest, ReferencesAreCounted) {
  run(1, [&] {
    create();
    const PKTHREAD thread = reference();
    EXPECT_EQ(ObReferenceObject(thread), 2);
    EXPECT_EQ(ObReferenceObjectByPointer(thread, 0, *PsThreadType, KernelMode), kStatusSuccess);
    EXPECT_EQ(ObDereferenceObject(thread), 2);
    EXPECT_EQ(ObDereferenceObject(thread), 1);
    HANDLE second = nullptr;
    EXPECT_EQ(ObOpenObjectByPointer(thread, 0, nullptr, 0, *PsThreadType, KernelMode, &second), kStatusSuccess);
    EXPECT_NE(second, handle_);
    EXPECT_EQ(ObDereferenceObject(thread), 0);
    EXPECT_TRUE(breaches().empty());
    ObDereferenceObject(thread);
    ZwClose(second);
    ZwClose(handle_);
  });
  EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kReferenceUnderflow});
}

TEST_F(ThreadTest, CreationFailsWhenFaultsAreOn) {
  options.faults = true;
  std::set<NTSTATUS> results;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] { results.insert(create()); });
  }
  EXPECT_EQ(results, (std::set<NTSTATUS>{kStatusSuccess, kStatusInsufficientResources}));
}

TEST_F(ThreadTest, TerminatingWithALockHeldIsABreach) {
  KSPIN_LOCK lock = 0;
  routine_ = [&] {
    KeEnterCriticalRegion();
    KLOCK_QUEUE_HANDLE queue_handle;
    KeAcquireInStackQueuedSpinLock(&lock, &queue_handle);
    KeLowerIrql(PASSIVE_LEVEL);
    PsTerminateSystemThread(kStatusSuccess);
  };
  run(1, [&] { create(); });
  EXPECT_EQ(outcomes(), (std::vector<Outcome>{Outcome::kLockHeldAtReturn, Outcome::kRegionUnbalanced}));
  EXPECT_EQ(kernel.module(kModule).inside, 0U);
}

TEST_F(ThreadTest, OnlySystemThreadsTerminateThemselves) {
  run(1, [&] { EXPECT_EQ(PsTerminateSystemThread(kStatusSuccess), kStatusInvalidParameter); });
  EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kWrongObject});
}

TEST_F(ThreadTest, EveryThreadHasOneIdentity) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    PKTHREAD seen = nullptr;
    HANDLE id = nullptr;
    routine_ = [&] {
      seen = KeGetCurrentThread();
      EXPECT_EQ(seen, KeGetCurrentThread());
      id = PsGetCurrentThreadId();
    };
    run(seed, [&] {
      CLIENT_ID client_id;
      PsCreateSystemThread(&handle_, 0, nullptr, nullptr, &client_id, &call, this);
      const PKTHREAD thread = reference();
      KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, nullptr);
      EXPECT_EQ(seen, thread);
      EXPECT_EQ(id, client_id.UniqueThread);
      EXPECT_NE(KeGetCurrentThread(), thread);
      ObDereferenceObject(thread);
    });
  }
}

TEST_F(ThreadTest, TheSameSeedGivesTheSameTraceAgain) {
  routine_ = [] { PsTerminateSystemThread(kStatusSuccess); };
  const auto body = [&] {
    create();
    const PKTHREAD thread = reference();
    ZwClose(handle_);
    KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, nullptr);
    ObDereferenceObject(thread);
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
