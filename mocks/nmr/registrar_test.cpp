// registrar_test.cpp - the registrar as a whole: handles, failures of Register, calls from inside callbacks, and what
// its work costs.
#include <gtest/gtest.h>

#include <set>

#include "nmr/guarantee_fixture.h"

namespace nmrfuzz::nmr {
namespace {

class RegistrarTest : public GuaranteeTest {};

TEST_F(RegistrarTest, G5_HandlesAreDistinctAndDieOnce) {
  std::set<void*> handles;
  std::size_t given = 0;
  const auto note = [&](void* handle) {
    handles.insert(handle);
    ++given;
    expect(handle != nullptr, "a NULL handle");
  };
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kTakesClosedHandle},
         .prepare =
             [&] {
               handles.clear();
               given = 0;
               bench.start(1, [&, this] {
                 for (int i = 0; i < 3; ++i) {
                   Party& upper = add(Role::kClient, 1);
                   Party& lower = add(Role::kProvider, 1);
                   bench.register_party(upper);
                   bench.register_party(lower);
                   bench.deregister(lower);
                   bench.leave(upper);
                   bench.wait(lower);
                   note(upper.handle);
                   note(lower.handle);
                   TestRegistrar& registrar = bench.registrar;
                   expect(registrar.deregister(Role::kClient, upper.handle) == kernel::kStatusInvalidParameter &&
                              (world_.double_wait == DoubleWait::kTolerate ||
                               registrar.wait_for_deregister(Role::kClient, upper.handle) ==
                                   kernel::kStatusInvalidParameter),
                          "a dead registration handle works");
                 }
                 for (Pair& pair : bench.pairs()) {
                   if (pair.handle != nullptr) {
                     note(pair.handle);
                     bench.registrar.detach_complete(Role::kClient, pair.handle);
                   }
                 }
               });
             },
         .check = [&] { expect(handles.size() == given, "a handle was given out twice"); }});
}

TEST_F(RegistrarTest, G17_CallbacksMayCallTheRegistrar) {
  prove({.switches = kDetachSwitches,
         .mutants = {Mutant::kKeepsItsLock},
         .prepare =
             [&] {
               // Each provider passes what it is asked on to a layer below, and leaves together with it.
               Party& lowest = add(Role::kProvider, 2, {2, 2});
               Party& inner = add(Role::kClient, 2, {2, 2});
               Party& middle = add(Role::kProvider, 2);
               middle.attach = [&, this](Call& call) {
                 bench.register_party(inner);
                 return bench.accept(call);
               };
               middle.detach = [&, this](Call& call) {
                 bench.deregister(inner);
                 bench.start(2, [&, this, completed = &call.pair] {
                   bench.wait(inner);
                   bench.complete(*completed, Role::kProvider);
                 });
                 return kernel::kStatusPending;
               };
               Party& top = client();
               bench.start(2, [&] {
                 bench.register_party(lowest);
                 bench.register_party(middle);
                 bench.start(1, [&] {
                   bench.register_party(top);
                   bench.scheduler.wait_until_idle();  // attach_thread=worker_async
                   bench.leave(top);
                 });
               });
             },
         .check = [&] { expect(bench.pairs().size() == 2 && accepted_pairs() == 2, "not both layers attached"); }});
}

TEST_F(RegistrarTest, G24_AFailedRegisterLeavesNothing) {
  prove({.switches = {"fail_out", "attach_thread"},
         .mutants = {Mutant::kShowsFailedRegistration},
         .faults = true,
         .prepare =
             [&] {
               for (const Role role : {Role::kClient, Role::kProvider, Role::kClient, Role::kProvider}) {
                 Party& party = add(role, 1);
                 bench.start(1, [&, this] {
                   void* const before = bench.fresh_value();
                   party.handle = before;
                   if (bench.register_party(party) == kernel::kStatusSuccess) {
                     return;
                   }
                   expect(party.status == kernel::kStatusInsufficientResources, "another failure than documented");
                   switch (bench.registrar.world().fail_out) {
                     case FailOut::kUntouched:
                       expect(party.handle == before, "the output was touched");
                       break;
                     case FailOut::kNull:
                       expect(party.handle == nullptr, "the output is not NULL");
                       break;
                     case FailOut::kPoison:
                       expect(party.handle != before && kind_of_handle(party.handle) == HandleKind::kNone,
                              "the output is not poisoned");
                       break;
                   }
                 });
               }
             },
         .check =
             [&] {
               for (const Pair& pair : bench.pairs()) {
                 for (const Pair::Side& side : pair.sides) {
                   expect(side.party == nullptr || side.party->status == kernel::kStatusSuccess,
                          "a failed registration was offered");
                 }
               }
             }});
}

// What each call makes of each kind of handle.
TEST_F(RegistrarTest, HandlesOfAnyOtherKindAreRefused) {
  schedule::RandomWalk strategy;
  bench.begin(strategy, 0);
  bench.enter({}, false);
  Party& upper = add(Role::kClient, 1);
  Party& lower = add(Role::kProvider, 2);
  std::size_t states_seen = 0;
  bench.start(2, [&] { bench.register_party(lower); });
  bench.start(1, [&] {
    bench.register_party(upper);
    bench.scheduler.wait_until_idle();
    TestRegistrar& registrar = bench.registrar;
    struct Case {
      void* handle;
      HandleState state;
    };
    const auto judged = [&](HandleState state) {
      for (std::uint64_t i = bench.recorder.size(); i-- > 0;) {
        const trace::Event& event = bench.recorder.at(i);
        if (event.kind == trace::EventKind::kDeregisterEnter || event.kind == trace::EventKind::kWaitEnter ||
            event.kind == trace::EventKind::kAttachCallEnter || event.kind == trace::EventKind::kComplete) {
          ++states_seen;
          return event.a == static_cast<std::uint64_t>(state);
        }
      }
      return false;
    };
    const Case for_registrations[] = {
        {nullptr, HandleState::kNull},
        {&upper, HandleState::kUnknown},
        {make_handle(HandleKind::kClient, 99), HandleState::kUnknown},
        {make_handle(HandleKind::kClient, lower.handle == nullptr ? 0 : 1'000), HandleState::kUnknown},
        {lower.handle, HandleState::kWrongKind},
        {bench.pairs().front().handle, HandleState::kWrongKind}};
    for (const Case& each : for_registrations) {
      EXPECT_EQ(registrar.deregister(Role::kClient, each.handle), kernel::kStatusInvalidParameter);
      EXPECT_TRUE(judged(each.state));
      EXPECT_EQ(registrar.wait_for_deregister(Role::kClient, each.handle), kernel::kStatusInvalidParameter);
      EXPECT_TRUE(judged(each.state));
    }
    EXPECT_EQ(registrar.deregister(Role::kProvider, lower.handle), kernel::kStatusInvalidParameter);
    EXPECT_TRUE(judged(HandleState::kForeign));
    const Case for_bindings[] = {{nullptr, HandleState::kNull},
                                 {&upper, HandleState::kUnknown},
                                 {make_handle(HandleKind::kBinding, 99), HandleState::kUnknown},
                                 {upper.handle, HandleState::kWrongKind}};
    for (const Case& each : for_bindings) {
      void* context = nullptr;
      const void* dispatch = nullptr;
      EXPECT_EQ(registrar.client_attach_provider(each.handle, nullptr, nullptr, &context, &dispatch),
                kernel::kStatusInvalidParameter);
      EXPECT_TRUE(judged(each.state));
      registrar.detach_complete(Role::kClient, each.handle);
      EXPECT_TRUE(judged(each.state));
    }
    registrar.detach_complete(Role::kProvider, bench.pairs().front().handle);  // the other side's routine
    EXPECT_TRUE(judged(HandleState::kWrongKind));
  });
  ASSERT_EQ(bench.run(), schedule::EndReason::kAllEnded);
  EXPECT_EQ(bench.complaints(), std::vector<std::string>());
  EXPECT_EQ(states_seen, 22U);
}

// --- Cost ----------------------------------------------------------------------------------------------------------------

struct Cost {
  std::uint64_t steps, events, locks;
};

// Registers `count` clients beside one provider, takes the provider away, and then the clients.
Cost cost_of_bindings(RegistrarBench& bench, std::uint32_t count, const World& world) {
  schedule::RandomWalk strategy;
  bench.begin(strategy, 0);
  bench.enter(world, false);
  Party& lower = bench.add(Role::kProvider, {1, 1}, 2);
  Party& upper = bench.add(Role::kClient, {1, 1}, 2);  // as often as asked for
  std::vector<void*> handles(count);
  bench.start(2, [&] {
    bench.register_party(lower);
    for (void*& handle : handles) {
      bench.register_party(upper);
      handle = upper.handle;
    }
    bench.leave(lower);
    for (void* const handle : handles) {
      upper.handle = handle;
      upper.closed = false;
      bench.leave(upper);
      upper.closed = false;
    }
  });
  EXPECT_EQ(bench.run(), schedule::EndReason::kAllEnded);
  EXPECT_EQ(bench.registrar.bindings(), count);
  return {bench.scheduler.steps(), bench.recorder.size(), bench.watch.locks_taken};
}

TEST_F(RegistrarTest, WorkIsLinearInTheBindings) {
  const auto per_binding = [](std::uint64_t many, std::uint64_t some) {
    return static_cast<double>(many - some) / (1000 - 100);
  };
  for (const char* const text : {"cleanup_where=inline", "cleanup_where=at_wait", "binding_order=lifo"}) {
    World world;
    ASSERT_EQ(nmr::apply(world, text), std::nullopt);
    const Cost ten = cost_of_bindings(bench, 10, world);
    const Cost hundred = cost_of_bindings(bench, 100, world);
    const Cost thousand = cost_of_bindings(bench, 1000, world);
    for (const auto cost : {&Cost::steps, &Cost::events, &Cost::locks}) {
      const double first = static_cast<double>(hundred.*cost - ten.*cost) / (100 - 10);
      EXPECT_DOUBLE_EQ(per_binding(thousand.*cost, hundred.*cost), first) << text;
    }
  }
}

}  // namespace
}  // namespace nmrfuzz::nmr
