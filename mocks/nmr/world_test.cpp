// world_test.cpp - the switches as text and as draws, and that each variant makes a difference that the contract gives
// it.
#include "nmr/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "nmr/guarantee_fixture.h"

namespace nmrfuzz::nmr {
namespace {

TEST(World, TextAndBack) {
  EXPECT_EQ(text_of(World{}), "windows");
  for (const Switch& each : switches()) {
    for (std::size_t i = 0; i < each.variants.size(); ++i) {
      const std::string text = std::string(each.name) + "=" + std::string(each.variants[i].name);
      World world;
      ASSERT_EQ(nmr::apply(world, text), std::nullopt);
      EXPECT_EQ(each.field(world), i) << text;
      EXPECT_EQ(text_of(world), i == 0 ? "windows" : text);
    }
  }
}

TEST(World, WrongTextIsExplained) {
  World world;
  EXPECT_EQ(nmr::apply(world, "detach_irql=high").value_or(""),
            "world switch 'detach_irql' has no variant 'high'; it has caller, dispatch");
  EXPECT_NE(nmr::apply(world, "detach").value_or("").find("detach_order"), std::string::npos);
  EXPECT_NE(nmr::apply(world, "").value_or(""), "");
  EXPECT_EQ(world, World{});
}

// `any` draws each lawful variant and no other.
TEST(World, DrawsTheLawfulVariants) {
  std::set<std::pair<std::string_view, std::size_t>> drawn;
  schedule::RandomBits bits(1);
  for (int i = 0; i < 2000; ++i) {
    World world = draw_world([&](std::uint32_t alternatives) { return bits.below(alternatives); });
    for (const Switch& each : switches()) {
      drawn.emplace(each.name, each.field(world));
    }
  }
  for (const Switch& each : switches()) {
    for (std::size_t i = 0; i < each.variants.size(); ++i) {
      EXPECT_EQ(drawn.contains({each.name, i}), each.variants[i].drawn) << each.name << "=" << each.variants[i].name;
    }
  }
  EXPECT_EQ(draw_world([](std::uint32_t) { return 0U; }), World{});
}

// --- What the variants do ------------------------------------------------------------------------------------------------

class WorldEffects : public GuaranteeTest {
 protected:
  // Runs a client's and a provider's lives in the world of `text`, the client's thread first, as a plain sequence: the
  // module whose callbacks are called in which order, at which IRQL, on whose thread.
  struct Step {
    Callback callback;
    ObjectNumber binding;
    ThreadNumber thread;
    std::uint8_t irql;
  };
  std::vector<Step> steps_of(const std::string& text, const std::function<void()>& prepare) {
    World world;
    EXPECT_EQ(nmr::apply(world, text), std::nullopt);
    bench.begin(first_alternative_, 0);
    bench.enter(world, false);
    prepare();
    EXPECT_EQ(bench.run(), schedule::EndReason::kAllEnded) << text;
    EXPECT_EQ(bench.complaints(), std::vector<std::string>()) << text;
    std::vector<Step> steps;
    for (std::uint64_t i = 0; i < bench.recorder.size(); ++i) {
      const trace::Event& event = bench.recorder.at(i);
      if (event.kind == trace::EventKind::kCallbackEnter) {
        steps.push_back({static_cast<Callback>(event.a), event.object, event.thread, event.irql});
      }
    }
    return steps;
  }
  std::vector<Step> steps_of(const std::string& text) {
    return steps_of(text, [this] { attach_and_leave(); });
  }
  // One client, `providers` providers; the client leaves; then the providers do. One thread, number 1.
  void attach_and_leave(int providers = 1) {
    Party& upper = client();
    bench.start(1, [this, &upper, providers] {
      for (int i = 0; i < providers; ++i) {
        bench.register_party(add(Role::kProvider, 1));
      }
      bench.register_party(upper);
      bench.scheduler.wait_until_idle();
      bench.leave(upper);
      for (Party& party : bench.parties) {
        if (!party.closed) {
          bench.leave(party);
        }
      }
    });
  }
  static std::vector<Callback> of_kind(const std::vector<Step>& steps, Callback one, Callback other) {
    std::vector<Callback> found;
    for (const Step& step : steps) {
      if (step.callback == one || step.callback == other) {
        found.push_back(step.callback);
      }
    }
    return found;
  }
  static Step step_of(const std::vector<Step>& steps, Callback callback) {
    const auto found = std::find_if(steps.begin(), steps.end(), [&](const Step& s) { return s.callback == callback; });
    EXPECT_NE(found, steps.end());
    return found != steps.end() ? *found : Step{};
  }

 private:
  // Goes on with the running thread and takes the first of all alternatives.
  class First final : public schedule::Strategy {
   public:
    std::string_view name() const override { return "first"; }
    void begin(std::uint64_t) override {}
    ThreadNumber pick(const schedule::Choices& choices) override {
      const auto& runnable = choices.runnable;
      return std::find(runnable.begin(), runnable.end(), choices.current) != runnable.end() ? choices.current
                                                                                            : runnable.front();
    }
    std::uint32_t choose(std::uint32_t, schedule::ChoiceKind) override { return 0; }
  } first_alternative_;
};

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

TEST_F(WorldEffects, HandleDuringAttach) {
  void* seen = nullptr;
  const auto handle_in = [&](const char* text) {
    steps_of(text, [&, this] {
      Party& upper = client();
      upper.attach = [&](Call& call) {
        seen = upper.handle;
        return bench.accept(call);
      };
      bench.start(1, [&, this] {
        bench.register_party(add(Role::kProvider, 1));
        bench.register_party(upper);
      });
    });
    return seen;
  };
  EXPECT_NE(handle_in("handle_store=before_offers"), nullptr);
  EXPECT_EQ(handle_in("handle_store=after_offers"), nullptr);
}

TEST_F(WorldEffects, SecondAttempts) {
  const auto attempts_in = [&](const char* text, Status refusal) {
    std::uint32_t asked = 0;
    steps_of(text, [&, this] {
      Party& upper = client();
      upper.attach = [this](Call& call) {
        bench.attach_provider(call);
        return bench.attach_provider(call);
      };
      Party& lower = add(Role::kProvider, 1);
      lower.attach = [&asked, refusal](Call&) {
        ++asked;
        return refusal;
      };
      bench.start(1, [&, this] {
        bench.register_party(lower);
        bench.register_party(upper);
      });
    });
    return asked;
  };
  EXPECT_EQ(attempts_in("attach_retry=any_failure", kernel::kStatusDeviceNotReady), 2U);
  EXPECT_EQ(attempts_in("attach_retry=nointerface_only", kernel::kStatusDeviceNotReady), 1U);
  EXPECT_EQ(attempts_in("attach_retry=nointerface_only", kernel::kStatusNoInterface), 2U);
  EXPECT_EQ(attempts_in("attach_retry=none", kernel::kStatusNoInterface), 1U);
}

// A client that returns a failure although its provider accepted (R39).
TEST_F(WorldEffects, LateRefusal) {
  const auto callbacks_in = [&](const char* text) {
    std::vector<Callback> callbacks;
    for (const Step& step : steps_of(text, [this] {
           Party& upper = client();
           upper.attach = [this](Call& call) {
             bench.attach_provider(call);
             return kernel::kStatusUnsuccessful;
           };
           bench.start(1, [this, &upper] {
             bench.register_party(add(Role::kProvider, 1));
             bench.register_party(upper);
           });
         })) {
      callbacks.push_back(step.callback);
    }
    return callbacks;
  };
  using Callbacks = std::vector<Callback>;
  EXPECT_EQ(callbacks_in("late_refusal=detach_provider"),
            (Callbacks{Callback::kClientAttachProvider, Callback::kProviderAttachClient,
                       Callback::kProviderDetachClient, Callback::kProviderCleanupBindingContext}));
  EXPECT_EQ(callbacks_in("late_refusal=cleanup_only"),
            (Callbacks{Callback::kClientAttachProvider, Callback::kProviderAttachClient,
                       Callback::kProviderCleanupBindingContext}));
}

TEST_F(WorldEffects, NullContexts) {
  const auto cleanups_in = [&](const char* text) {
    const std::vector<Step> steps = steps_of(text, [this] {
      Party& upper = client();
      upper.attach = [this](Call& call) { return bench.attach_provider(call, nullptr, nullptr); };
      bench.start(1, [this, &upper] {
        Party& lower = add(Role::kProvider, 1);
        bench.register_party(lower);
        bench.register_party(upper);
        bench.leave(upper);
        bench.leave(lower);
      });
    });
    return of_kind(steps, Callback::kClientCleanupBindingContext, Callback::kClientCleanupBindingContext).size();
  };
  EXPECT_EQ(cleanups_in("null_context=call"), 1U);
  EXPECT_EQ(cleanups_in("null_context=skip_cleanup"), 0U);
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
}

}  // namespace
}  // namespace nmrfuzz::nmr
