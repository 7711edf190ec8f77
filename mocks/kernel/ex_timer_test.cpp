#include <ntddk.h>

#include <functional>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kSeeds = 200;
constexpr LONGLONG kMillisecond = 10'000;

class ExTimerTest : public KernelFixture {
 protected:
  std::function<void(PEX_TIMER)> callback_ = [](PEX_TIMER) {};
  int deletions_ = 0;

  static void call(PEX_TIMER timer, PVOID context) { static_cast<ExTimerTest*>(context)->callback_(timer); }
  static void deleted(PVOID context) { ++static_cast<ExTimerTest*>(context)->deletions_; }
  PEX_TIMER allocate() { return ExAllocateTimer(&call, this, EX_TIMER_NOTIFICATION); }
};

TEST_F(ExTimerTest, CallsBackAtDispatchLevelAndSignals) {
  int runs = 0;
  callback_ = [&](PEX_TIMER) {
    ++runs;
    EXPECT_EQ(KeGetCurrentIrql(), DISPATCH_LEVEL);
  };
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    runs = 0;
    run(seed, [&] {
      const PEX_TIMER timer = allocate();
      EXPECT_FALSE(ExSetTimer(timer, -5 * kMillisecond, 0, nullptr));
      EXPECT_EQ(KeWaitForSingleObject(timer, Executive, KernelMode, FALSE, nullptr), kStatusSuccess);
      EXPECT_GE(scheduler.now(), static_cast<std::uint64_t>(5 * kMillisecond));
      EXPECT_FALSE(ExDeleteTimer(timer, TRUE, TRUE, nullptr));
      EXPECT_EQ(runs, 1) << "the deletion waits for the callback";
    });
    EXPECT_TRUE(breaches().empty());
    EXPECT_EQ(kernel.active_dpcs(), 0U);
  }
}

TEST_F(ExTimerTest, AllocationFailsWhenFaultsAreOn) {
  options.faults = true;
  std::set<bool> failed;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    PEX_TIMER timer = nullptr;
    run(seed, [&] { timer = allocate(); });
    const auto injected = events(trace::EventKind::kInjectedFailure, Routine::ExAllocateTimer);
    EXPECT_EQ(injected.size(), timer == nullptr ? 1U : 0U);
    failed.insert(timer == nullptr);
  }
  EXPECT_EQ(failed, (std::set<bool>{false, true}));
}

TEST_F(ExTimerTest, TheDeleteCallbackComesOnceAndLast) {
  for (const bool wait : {false, true}) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      deletions_ = 0;
      callback_ = [&](PEX_TIMER) { EXPECT_EQ(deletions_, 0); };
      run(seed, [&] {
        const PEX_TIMER timer = allocate();
        ExSetTimer(timer, -kMillisecond, kMillisecond, nullptr);
        LARGE_INTEGER time;
        time.QuadPart = -2 * kMillisecond;
        KeDelayExecutionThread(KernelMode, FALSE, &time);
        EXT_DELETE_PARAMETERS parameters;
        ExInitializeDeleteTimerParameters(&parameters);
        parameters.DeleteCallback = &deleted;
        parameters.DeleteContext = this;
        EXPECT_TRUE(ExDeleteTimer(timer, TRUE, wait, &parameters)) << "a periodic timer is always set";
        if (wait) {
          EXPECT_EQ(deletions_, 1);
        }
      });
      EXPECT_EQ(deletions_, 1) << "seed " << seed;
      EXPECT_TRUE(breaches().empty());
    }
  }
}

TEST_F(ExTimerTest, CancelRacesWithTheExpiry) {
  std::set<BOOLEAN> cancellations;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    BOOLEAN cancelled = FALSE;
    callback_ = [&](PEX_TIMER) { ++runs; };
    run(seed, [&] {
      const PEX_TIMER timer = allocate();
      ExSetTimer(timer, -kMillisecond, 0, nullptr);
      cancelled = ExCancelTimer(timer, nullptr);
      ExDeleteTimer(timer, FALSE, FALSE, nullptr);
    });
    EXPECT_EQ(runs, cancelled ? 0 : 1);
    cancellations.insert(cancelled);
  }
  EXPECT_EQ(cancellations, (std::set<BOOLEAN>{FALSE, TRUE}));
}

TEST_F(ExTimerTest, DeletingFromTheCallbackWithoutWaitingIsLegal) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    KEVENT event;
    callback_ = [&](PEX_TIMER timer) {
      ++runs;
      ExDeleteTimer(timer, TRUE, FALSE, nullptr);
      KeSetEvent(&event, 0, FALSE);
    };
    run(seed, [&] {
      KeInitializeEvent(&event, NotificationEvent, FALSE);
      ExSetTimer(allocate(), -kMillisecond, 0, nullptr);
      KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, nullptr);
    });
    EXPECT_EQ(runs, 1);
    EXPECT_TRUE(breaches().empty());
  }
}

TEST_F(ExTimerTest, UseAfterDeletionIsABreach) {
  run(1, [&] {
    const PEX_TIMER timer = allocate();
    ExDeleteTimer(timer, TRUE, TRUE, nullptr);
    ExSetTimer(timer, -kMillisecond, 0, nullptr);
    ExDeleteTimer(timer, TRUE, TRUE, nullptr);
  });
  EXPECT_EQ(outcomes(), (std::vector<Outcome>{Outcome::kFreedObject, Outcome::kFreedObject}));
}

TEST_F(ExTimerTest, WaitingAtDispatchLevelIsABreach) {
  run(1, [&] {
    const PEX_TIMER timer = allocate();
    const KIRQL old = KeRaiseIrqlToDpcLevel();
    ExDeleteTimer(timer, TRUE, TRUE, nullptr);
    KeLowerIrql(old);
  });
  EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kWaitAtRaisedIrql});
}

TEST_F(ExTimerTest, TheSameSeedGivesTheSameTraceAgain) {
  const auto body = [&] {
    const PEX_TIMER timer = allocate();
    ExSetTimer(timer, -kMillisecond, kMillisecond, nullptr);
    ExDeleteTimer(timer, TRUE, TRUE, nullptr);
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
