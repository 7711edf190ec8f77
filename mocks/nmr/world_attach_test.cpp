// world_attach_test.cpp - what each variant that concerns Register and the attach makes different.
#include "nmr/world_effects_fixture.h"

namespace nmrfuzz::nmr {
namespace {

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
  const auto callbacks_in = [&](const char* text, schedule::EndReason end = schedule::EndReason::kAllEnded) {
    const auto refuse_late = [this] {
      Party& upper = client();
      upper.attach = [this](Call& call) {
        bench.attach_provider(call);
        return kernel::kStatusUnsuccessful;
      };
      bench.start(1, [this, &upper] {
        bench.register_party(add(Role::kProvider, 1));
        bench.register_party(upper);
      });
    };
    std::vector<Callback> callbacks;
    for (const Step& step : steps_of(text, refuse_late, end)) {
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
  EXPECT_EQ(callbacks_in("late_refusal=stop", schedule::EndReason::kStopped),
            (Callbacks{Callback::kClientAttachProvider, Callback::kProviderAttachClient}));
}

TEST_F(WorldEffects, WrongSizes) {
  const auto status_in = [&](const char* text, bool right) {
    Status status = kernel::kStatusUnsuccessful;
    steps_of(text, [&, this] {
      Party& upper = client();
      upper.sizes_are_right = right;
      bench.start(1, [&, this] { status = bench.register_party(upper); });
    });
    return status;
  };
  EXPECT_EQ(status_in("check_sizes=report", false), kernel::kStatusSuccess);
  EXPECT_EQ(status_in("check_sizes=refuse", false), kernel::kStatusInvalidParameter);
  EXPECT_EQ(status_in("check_sizes=refuse", true), kernel::kStatusSuccess);
}

// A declined pair, then two more registrations of the NPI, the second of which finds all pairs declined again.
TEST_F(WorldEffects, OffersOfRefusedPairs) {
  const auto offers_in = [&](const char* text) {
    steps_of(text, [this] {
      Party& upper = client();
      upper.attach = [](Call&) { return kernel::kStatusNoInterface; };
      bench.start(1, [this, &upper] {
        bench.register_party(upper);
        for (int i = 0; i < 3; ++i) {
          bench.register_party(add(Role::kProvider, 1));
        }
        bench.register_party(add(Role::kProvider, 1, {7, 7}));  // another NPI gives nobody a chance
      });
    });
    return bench.pairs().size();
  };
  EXPECT_EQ(offers_in("reoffer=never"), 3U);
  EXPECT_EQ(offers_in("reoffer=on_new_registration"), 3U + 1U + 2U);
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

}  // namespace
}  // namespace nmrfuzz::nmr
