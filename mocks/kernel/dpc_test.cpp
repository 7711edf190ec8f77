#include <ntddk.h>

#include <functional>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kSeeds = 200;

class DpcTest : public KernelFixture {
 protected:
  // What the routine below does; its context is the test.
  std::function<void(PKDPC, PVOID, PVOID)> routine_;
  KDPC dpc_{};

  static void call(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2) {
    static_cast<DpcTest*>(context)->routine_(dpc, argument1, argument2);
  }
  void initialise() { KeInitializeDpc(&dpc_, &call, this); }
};

TEST_F(DpcTest, RunsAtDispatchLevelWithItsArguments) {
  int one = 1;
  int two = 2;
  int runs = 0;
  routine_ = [&](PKDPC dpc, PVOID argument1, PVOID argument2) {
    ++runs;
    EXPECT_EQ(dpc, &dpc_);
    EXPECT_EQ(argument1, &one);
    EXPECT_EQ(argument2, &two);
    EXPECT_EQ(KeGetCurrentIrql(), DISPATCH_LEVEL);
    EXPECT_EQ(kernel.thread_state().module, kModule);
  };
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    EXPECT_EQ(run(seed,
                  [&] {
                    initialise();
                    EXPECT_TRUE(KeInsertQueueDpc(&dpc_, &one, &two));
                  }),
              schedule::EndReason::kAllEnded);
  }
  EXPECT_EQ(runs, static_cast<int>(kSeeds));
  EXPECT_EQ(kernel.active_dpcs(), 0U);
  ASSERT_EQ(events(trace::EventKind::kWorkEnded).size(), 1U);
  EXPECT_EQ(events(trace::EventKind::kWorkEnded)[0].module, kModule);
  EXPECT_TRUE(breaches().empty());
}

// Queued and not entered: a second insertion is refused. Entered: it is accepted, even from the routine itself.
TEST_F(DpcTest, IsQueuedOnceUntilItIsEntered) {
  std::set<BOOLEAN> second;
  std::set<BOOLEAN> from_itself;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    int insertions = 0;
    routine_ = [&](PKDPC dpc, PVOID, PVOID) {
      if (++runs == 1) {
        const BOOLEAN queued = KeInsertQueueDpc(dpc, nullptr, nullptr);
        insertions += queued;
        from_itself.insert(queued);
      }
    };
    run(seed, [&] {
      initialise();
      EXPECT_TRUE(KeInsertQueueDpc(&dpc_, nullptr, nullptr));
      const BOOLEAN queued = KeInsertQueueDpc(&dpc_, nullptr, nullptr);
      insertions += 1 + queued;
      second.insert(queued);
    });
    EXPECT_EQ(runs, insertions);
    EXPECT_EQ(kernel.active_dpcs(), 0U);
  }
  EXPECT_EQ(second, (std::set<BOOLEAN>{FALSE, TRUE}));
  EXPECT_EQ(from_itself, (std::set<BOOLEAN>{FALSE, TRUE}));
}

TEST_F(DpcTest, RemovalRacesWithTheRun) {
  std::set<BOOLEAN> removals;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    BOOLEAN removed = FALSE;
    routine_ = [&](PKDPC, PVOID, PVOID) { ++runs; };
    run(seed, [&] {
      initialise();
      KeInsertQueueDpc(&dpc_, nullptr, nullptr);
      removed = KeRemoveQueueDpc(&dpc_);
    });
    EXPECT_EQ(runs, removed ? 0 : 1) << "seed " << seed;
    EXPECT_EQ(events(trace::EventKind::kWorkCancelled).size(), removed ? 1U : 0U);
    EXPECT_EQ(kernel.active_dpcs(), 0U);
    removals.insert(removed);
  }
  EXPECT_EQ(removals, (std::set<BOOLEAN>{FALSE, TRUE}));
}

TEST_F(DpcTest, ADpcThatWasRemovedCanBeQueuedAgain) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    int insertions = 0;
    int removals = 0;
    routine_ = [&](PKDPC, PVOID, PVOID) { ++runs; };
    run(seed, [&] {
      initialise();
      for (int i = 0; i < 3; ++i) {
        insertions += KeInsertQueueDpc(&dpc_, nullptr, nullptr);
        removals += KeRemoveQueueDpc(&dpc_);
      }
      insertions += KeInsertQueueDpc(&dpc_, nullptr, nullptr);
    });
    EXPECT_EQ(runs, insertions - removals) << "seed " << seed;
  }
}

// The routine has several scheduling points, so without the wait the flush would often return in its middle.
TEST_F(DpcTest, FlushWaitsForQueuedAndRunningDpcs) {
  std::set<bool> waited;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    bool started = false;
    bool done = false;
    KEVENT event;
    routine_ = [&](PKDPC, PVOID, PVOID) {
      started = true;
      KeSetEvent(&event, 0, FALSE);
      KeSetEvent(&event, 0, FALSE);
      done = true;
    };
    const auto end = run(seed, [&] {
      KeInitializeEvent(&event, NotificationEvent, FALSE);
      initialise();
      KeInsertQueueDpc(&dpc_, nullptr, nullptr);
      waited.insert(started && !done);
      KeFlushQueuedDpcs();
      EXPECT_TRUE(done) << "seed " << seed;
    });
    EXPECT_EQ(end, schedule::EndReason::kAllEnded);
  }
  EXPECT_EQ(waited, (std::set<bool>{false, true}));
}

// One that is queued for ever again from its own routine must not hold up a flush for ever.
TEST_F(DpcTest, FlushDoesNotWaitForDpcsQueuedLater) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    bool flushed = false;
    routine_ = [&](PKDPC dpc, PVOID, PVOID) {
      if (!flushed) {
        KeInsertQueueDpc(dpc, nullptr, nullptr);
      }
    };
    const auto end = run(seed, [&] {
      initialise();
      KeInsertQueueDpc(&dpc_, nullptr, nullptr);
      KeFlushQueuedDpcs();
      flushed = true;
    });
    EXPECT_EQ(end, schedule::EndReason::kAllEnded) << "seed " << seed;
  }
}

TEST_F(DpcTest, FlushAtDispatchLevelIsABreach) {
  run(1, [&] {
    const KIRQL old = KeRaiseIrqlToDpcLevel();
    KeFlushQueuedDpcs();
    KeLowerIrql(old);
  });
  EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kIrqlTooHigh});
}

TEST_F(DpcTest, ThreadedDpcsRunAtBothLevels) {
  std::set<KIRQL> levels;
  routine_ = [&](PKDPC, PVOID, PVOID) { levels.insert(KeGetCurrentIrql()); };
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] {
      KeInitializeThreadedDpc(&dpc_, &call, this);
      KeInsertQueueDpc(&dpc_, nullptr, nullptr);
    });
    EXPECT_TRUE(breaches().empty());
  }
  EXPECT_EQ(levels, (std::set<KIRQL>{PASSIVE_LEVEL, DISPATCH_LEVEL}));
}

// Drivers keep the KDPC in what the routine frees.
TEST_F(DpcTest, TheRoutineMayFreeTheDpc) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    routine_ = [&](PKDPC dpc, PVOID, PVOID) {
      ++runs;
      ExFreePoolWithTag(dpc, 'cpD1');
      EXPECT_NE(kernel.active_dpcs(), 0U);
    };
    run(seed, [&] {
      auto* const dpc = static_cast<PKDPC>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(KDPC), 'cpD1'));
      KeInitializeDpc(dpc, &call, this);
      KeInsertQueueDpc(dpc, nullptr, nullptr);
    });
    EXPECT_EQ(runs, 1);
    EXPECT_TRUE(breaches().empty()) << "seed " << seed;
    EXPECT_EQ(kernel.active_dpcs(), 0U);
  }
}

TEST_F(DpcTest, FreeingAQueuedDpcIsABreachAndItDoesNotRun) {
  std::set<std::size_t> found;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    int runs = 0;
    routine_ = [&](PKDPC, PVOID, PVOID) { ++runs; };
    run(seed, [&] {
      auto* const dpc = static_cast<PKDPC>(ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(KDPC), 'cpD1'));
      KeInitializeDpc(dpc, &call, this);
      KeInsertQueueDpc(dpc, nullptr, nullptr);
      ExFreePoolWithTag(dpc, 'cpD1');
    });
    EXPECT_EQ(static_cast<std::size_t>(runs) + breaches().size(), 1U);
    EXPECT_EQ(kernel.active_dpcs(), 0U);
    found.insert(breaches().size());
  }
  EXPECT_EQ(found, (std::set<std::size_t>{0, 1}));
}

struct Misuse {
  const char* name;
  void (*act)(PKDPC dpc, PKDEFERRED_ROUTINE routine);
  Outcome outcome;
};

class DpcMisuseTest : public DpcTest, public ::testing::WithParamInterface<Misuse> {};

TEST_P(DpcMisuseTest, IsABreach) {
  routine_ = [](PKDPC, PVOID, PVOID) {};
  begin(3);
  const auto body = [&] { GetParam().act(&dpc_, &call); };
  start(body);
  finish();
  ASSERT_EQ(outcomes().size(), 1U);
  EXPECT_EQ(outcomes()[0], GetParam().outcome);
}

INSTANTIATE_TEST_SUITE_P(
    All, DpcMisuseTest,
    ::testing::Values(Misuse{"never_initialised",
                             [](PKDPC dpc, PKDEFERRED_ROUTINE) { KeInsertQueueDpc(dpc, nullptr, nullptr); },
                             Outcome::kUninitializedObject},
                      Misuse{"null", [](PKDPC, PKDEFERRED_ROUTINE) { KeInsertQueueDpc(nullptr, nullptr, nullptr); },
                             Outcome::kNullArgument},
                      Misuse{"no_routine",
                             [](PKDPC dpc, PKDEFERRED_ROUTINE) {
                               KeInitializeDpc(dpc, nullptr, nullptr);
                               KeInsertQueueDpc(dpc, nullptr, nullptr);
                             },
                             Outcome::kNullArgument},
                      Misuse{"copied",
                             [](PKDPC dpc, PKDEFERRED_ROUTINE routine) {
                               KeInitializeDpc(dpc, routine, nullptr);
                               KDPC copy = *dpc;
                               KeInsertQueueDpc(&copy, nullptr, nullptr);
                             },
                             Outcome::kUninitializedObject}),
    [](const auto& info) { return info.param.name; });

TEST_F(DpcTest, ReinitialisingAQueuedDpcIsABreach) {
  std::set<bool> found;
  routine_ = [](PKDPC, PVOID, PVOID) {};
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, [&] {
      initialise();
      KeInsertQueueDpc(&dpc_, nullptr, nullptr);
      initialise();
    });
    found.insert(!breaches().empty());
    if (!breaches().empty()) {
      EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kReinitializedWhileQueued});
    }
  }
  EXPECT_EQ(found, (std::set<bool>{false, true}));
}

TEST_F(DpcTest, TheSameSeedGivesTheSameTraceAgain) {
  routine_ = [](PKDPC dpc, PVOID argument, PVOID) {
    if (argument == nullptr) {
      KeInsertQueueDpc(dpc, dpc, nullptr);
    }
  };
  const auto body = [&] {
    KeInitializeThreadedDpc(&dpc_, &call, this);
    KeInsertQueueDpc(&dpc_, nullptr, nullptr);
    KeRemoveQueueDpc(&dpc_);
    KeFlushQueuedDpcs();
  };
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(seed, body);
    const trace::TraceHash first = recorder.hash();
    run(seed + 1, body);
    run(seed, body);
    EXPECT_EQ(recorder.hash(), first) << "seed " << seed;
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
