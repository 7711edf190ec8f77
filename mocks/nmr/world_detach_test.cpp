// world_detach_test.cpp - what each variant that concerns detach, cleanup, Deregister and the wait makes different.
#include "nmr/world_effects_fixture.h"

namespace nmrfuzz::nmr {
namespace {

TEST_F(WorldEffects, OrderOfDetachAndCleanup) {
  constexpr Callback kClient = Callback::kClientDetachProvider;
  constexpr Callback kProvider = Callback::kProviderDetachClient;
  const std::pair<const char*, bool> detach_orders[] = {{"detach_order=own_first", true},
                                                        {"detach_order=client_first", true},
                                                        {"detach_order=provider_first", false},
                                                        {"detach_order=peer_first", false}};
  for (const auto& [text, client_first] : detach_orders) {
    const std::vector<Callback> expected =
        client_first ? std::vector<Callback>{kClient, kProvider} : std::vector<Callback>{kProvider, kClient};
    EXPECT_EQ(of_kind(steps_of(text), kClient, kProvider), expected) << text;
  }
  constexpr Callback kClientCleanup = Callback::kClientCleanupBindingContext;
  constexpr Callback kProviderCleanup = Callback::kProviderCleanupBindingContext;
  const std::pair<const char*, bool> cleanup_orders[] = {
      {"cleanup_order=client_first", true}, {"cleanup_order=provider_first", false}, {"cleanup_order=own_first", true}};
  for (const auto& [text, client_first] : cleanup_orders) {
    const std::vector<Callback> expected = client_first ? std::vector<Callback>{kClientCleanup, kProviderCleanup}
                                                        : std::vector<Callback>{kProviderCleanup, kClientCleanup};
    EXPECT_EQ(of_kind(steps_of(text), kClientCleanup, kProviderCleanup), expected) << text;
  }
}

TEST_F(WorldEffects, IrqlOfDetachAndCleanup) {
  const auto irql_of = [&](const char* text, Callback callback) { return step_of(steps_of(text), callback).irql; };
  EXPECT_EQ(irql_of("detach_irql=caller", Callback::kClientDetachProvider), kernel::kPassiveLevel);
  EXPECT_EQ(irql_of("detach_irql=dispatch", Callback::kClientDetachProvider), kernel::kDispatchLevel);
  EXPECT_EQ(irql_of("detach_irql=dispatch", Callback::kProviderDetachClient), kernel::kDispatchLevel);
  EXPECT_EQ(irql_of("detach_irql=dispatch", Callback::kClientCleanupBindingContext), kernel::kPassiveLevel);
  EXPECT_EQ(irql_of("cleanup_where=inline", Callback::kProviderCleanupBindingContext), kernel::kPassiveLevel);
  EXPECT_EQ(irql_of("cleanup_where=dispatch", Callback::kProviderCleanupBindingContext), kernel::kDispatchLevel);
  EXPECT_EQ(irql_of("cleanup_where=dispatch", Callback::kClientDetachProvider), kernel::kPassiveLevel);
}

TEST_F(WorldEffects, ThreadOfEachCallback) {
  constexpr ThreadNumber kCaller = 1;
  const auto thread_of = [&](const char* text, Callback callback) { return step_of(steps_of(text), callback).thread; };
  EXPECT_EQ(thread_of("attach_thread=caller", Callback::kClientAttachProvider), kCaller);
  EXPECT_NE(thread_of("attach_thread=worker_then_wait", Callback::kClientAttachProvider), kCaller);
  EXPECT_NE(thread_of("attach_thread=worker_async", Callback::kClientAttachProvider), kCaller);
  EXPECT_EQ(thread_of("detach_thread=caller", Callback::kClientDetachProvider), kCaller);
  EXPECT_NE(thread_of("detach_thread=worker", Callback::kClientDetachProvider), kCaller);
  EXPECT_EQ(thread_of("cleanup_where=inline", Callback::kClientCleanupBindingContext), kCaller);
  EXPECT_NE(thread_of("cleanup_where=worker", Callback::kClientCleanupBindingContext), kCaller);
  EXPECT_EQ(thread_of("cleanup_where=at_wait", Callback::kClientCleanupBindingContext), kCaller);
  EXPECT_NE(thread_of("detach_order=overlap", Callback::kClientDetachProvider), kCaller);
  EXPECT_EQ(thread_of("detach_order=overlap", Callback::kProviderDetachClient), kCaller);
}

TEST_F(WorldEffects, OrderOfOffersAndDetaches) {
  const auto order_of = [&](const char* text, Callback callback) {
    std::vector<ObjectNumber> order;
    for (const Step& step : steps_of(text, [this] { attach_and_leave(3); })) {
      if (step.callback == callback) {
        order.push_back(step.binding);
      }
    }
    return order;
  };
  using Order = std::vector<ObjectNumber>;
  EXPECT_EQ(order_of("binding_order=fifo", Callback::kClientDetachProvider), (Order{1, 2, 3}));
  EXPECT_EQ(order_of("binding_order=lifo", Callback::kClientDetachProvider), (Order{3, 2, 1}));
  EXPECT_NE(order_of("binding_order=shuffled", Callback::kClientDetachProvider), (Order{1, 2, 3}));
  EXPECT_EQ(order_of("detach_fanout=serial", Callback::kClientDetachProvider), (Order{1, 2, 3}));
  EXPECT_EQ(order_of("detach_fanout=parallel", Callback::kClientDetachProvider).front(), 3U);
}

TEST_F(WorldEffects, StatusesOfDeregisterAndWait) {
  struct Statuses {
    Status first, second, wait, second_wait;
    bool operator==(const Statuses&) const = default;
  } seen{};
  const auto statuses_of = [&](const char* text) {
    steps_of(text, [&, this] {
      Party& lonely = client();
      bench.start(1, [&, this] {
        bench.register_party(lonely);
        seen.first = bench.deregister(lonely);
        seen.second = bench.deregister(lonely);
        seen.wait = bench.wait(lonely);
        seen.second_wait = bench.wait(lonely);
      });
    });
    return seen;
  };
  constexpr Status kPending = kernel::kStatusPending;
  constexpr Status kBad = kernel::kStatusInvalidParameter;
  constexpr Status kSuccess = kernel::kStatusSuccess;
  EXPECT_EQ(statuses_of("dereg_status=pending"), (Statuses{kPending, kBad, kSuccess, kBad}));
  EXPECT_EQ(statuses_of("dereg_status=success_when_idle"), (Statuses{kSuccess, kBad, kSuccess, kSuccess}));
  EXPECT_EQ(statuses_of("dereg_error=inject_once"),
            (Statuses{kernel::kStatusInsufficientResources, kPending, kSuccess, kBad}));
  EXPECT_EQ(statuses_of("double_wait=tolerate"), (Statuses{kPending, kBad, kSuccess, kSuccess}));
}

TEST_F(WorldEffects, BadCompletions) {
  const auto goes_on_in = [&](const char* text, schedule::EndReason end) {
    bool goes_on = false;
    steps_of(
        text,
        [&, this] {
          bench.start(1, [&, this] {
            bench.registrar.detach_complete(Role::kClient, reinterpret_cast<void*>(0xdead));
            goes_on = true;
          });
        },
        end);
    return goes_on;
  };
  EXPECT_TRUE(goes_on_in("bad_complete=report_continue", schedule::EndReason::kAllEnded));
  EXPECT_FALSE(goes_on_in("bad_complete=report_stop", schedule::EndReason::kStopped));
}

// Whether the wait for a registration returns before the cleanup of its last binding.
TEST_F(WorldEffects, DrainPoint) {
  const auto drained_in = [&](const std::string& text) {
    World world;
    EXPECT_EQ(nmr::apply(world, "cleanup_where=worker"), std::nullopt);
    EXPECT_EQ(nmr::apply(world, text), std::nullopt);
    bool early = false;
    schedule::RandomWalk random;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      bench.begin(random, seed);
      bench.enter(world, false);
      Party& upper = client();
      Party& lower = add(Role::kProvider, 1);
      bench.start(1, [&, this] {
        bench.register_party(lower);
        bench.register_party(upper);
        bench.leave(upper);
        early = early || bench.pairs().front().side(Role::kClient).cleanups == 0;
        bench.leave(lower);
      });
      EXPECT_EQ(bench.run(), schedule::EndReason::kAllEnded) << text;
      EXPECT_EQ(bench.complaints(), std::vector<std::string>()) << text;
    }
    return early;
  };
  EXPECT_FALSE(drained_in("drain_point=after_cleanup"));
  EXPECT_TRUE(drained_in("drain_point=after_detach_unsafe"));
}

// A deregistration from inside the client's own attach callback: the binding is detached as soon as it is attached.
TEST_F(WorldEffects, ThreadOfALateDetach) {
  const auto thread_in = [&](const char* text) {
    const std::vector<Step> steps = steps_of(text, [this] {
      Party& upper = client();
      upper.attach = [this, &upper](Call& call) {
        const Status status = bench.attach_provider(call);
        bench.deregister(upper);
        return status;
      };
      bench.start(1, [this, &upper] {
        bench.register_party(add(Role::kProvider, 1));
        bench.register_party(upper);
        bench.wait(upper);
      });
    });
    return step_of(steps, Callback::kClientDetachProvider).thread;
  };
  EXPECT_EQ(thread_in("late_detach_thread=attacher"), 1U);
  EXPECT_NE(thread_in("late_detach_thread=worker"), 1U);
  EXPECT_EQ(thread_in("late_detach_thread=deregisterer"), 1U);  // Deregister had returned
}

// A deregistration that is still at work when the attach ends: busy with the detach of another binding.
TEST_F(WorldEffects, LateDetachOfABusyDeregister) {
  const auto thread_in = [&](const char* text) {
    bool attaching = false;
    bool attached = false;
    bool busy = false;
    const std::vector<Step> steps = steps_of(text, [&, this] {
      Party& lower = add(Role::kProvider, 2);
      Party& first = client();
      Party& second = client();
      first.detach = [&, this](Call&) {
        busy = true;
        while (!attached) {
          bench.scheduler.wait_until_idle();
        }
        return kernel::kStatusSuccess;
      };
      second.attach = [&, this](Call& call) {
        const Status status = bench.attach_provider(call);
        attaching = true;
        while (!busy) {
          bench.scheduler.wait_until_idle();
        }
        return status;
      };
      bench.start(2, [&, this] {  // thread 1
        bench.register_party(lower);
        bench.register_party(first);
        while (!attaching) {
          bench.scheduler.wait_until_idle();
        }
        bench.leave(lower);
        bench.leave(first);
      });
      bench.start(1, [&, this] {  // thread 2
        bench.scheduler.wait_until_idle();
        bench.register_party(second);
        attached = true;
        bench.leave(second);
      });
    });
    const auto late = std::find_if(steps.begin(), steps.end(), [](const Step& step) {
      return step.callback == Callback::kClientDetachProvider && step.binding == 2;
    });
    EXPECT_NE(late, steps.end()) << text;
    return late != steps.end() ? late->thread : 0;
  };
  EXPECT_EQ(thread_in("late_detach_thread=attacher"), 2U);
  EXPECT_EQ(thread_in("late_detach_thread=deregisterer"), 1U);
}

}  // namespace
}  // namespace nmrfuzz::nmr
