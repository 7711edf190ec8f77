#include "peers/peers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "contract/rules.h"
#include "nmr/model_options.h"
#include "peers/dispatch_stubs.h"
#include "schedule/byte_source.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::peers {
namespace {

using nmr::Callback;
using nmr::Role;
using schedule::EndReason;
using trace::Event;
using trace::EventKind;

// Judges peers as if they were a module under test: hands each event on to the rules as one of module 1.
class AsModule final : public trace::Observer, private contract::FindingSink {
 public:
  explicit AsModule(trace::Recorder& recorder) { recorder.subscribe_all(*this); }

  void reset() {
    findings_.clear();
    shadow_.reset();
    rules_.reset();
    shadow_.write(trace::Event{});
  }
  // The execution is over: whatever is still registered is a breach.
  void unload() { shadow_.write({.kind = EventKind::kUnloadExit, .module = 1}); }
  const std::vector<std::string>& findings() const { return findings_; }

 private:
  void on_event(const Event& event) override {
    Event seen = event;
    seen.module = 1;
    shadow_.write(seen);
  }
  void report(contract::Finding finding) override {
    findings_.push_back(std::string(contract::name_of(finding.kind)) + " " + std::string(finding.rule) + " at event " +
                        std::to_string(finding.event_number - 1));
  }

  std::unique_ptr<trace::EventRing> ring_ = std::make_unique<trace::EventRing>();
  trace::Recorder shadow_{*ring_};
  contract::Rules rules_{shadow_, *this};
  std::vector<std::string> findings_;
};

// What peers were seen to do.
class Sightings final : public trace::Observer {
 public:
  explicit Sightings(trace::Recorder& recorder) { recorder.subscribe_all(*this); }

  // `stage`: the thread that makes the peers come.
  void begin(trace::ThreadNumber stage) {
    stage_ = stage;
    module_is_loaded_ = false;
    released_ = false;
    registers_of_context_.clear();
    late_threads_.clear();
    callbacks_of_thread_.clear();
    attaching_ = 0;
  }
  void module_is_loaded() { module_is_loaded_ = true; }
  void released() { released_ = true; }
  const std::set<std::string>& seen() const { return seen_; }

 private:
  void on_event(const Event& event) override {
    switch (event.kind) {
      case EventKind::kThreadStart:
        if (module_is_loaded_) {
          late_threads_.insert(static_cast<trace::ThreadNumber>(event.object));
        }
        break;
      case EventKind::kRegisterEnter:
        on_register(event);
        break;
      case EventKind::kDeregisterEnter:
        seen_.insert(event.irql == kernel::kDispatchLevel ? "departs at dispatch" : "departs at passive");
        seen_.insert(released_         ? "departs after the module"
                     : attaching_ != 0 ? "departs during an attach"
                                       : "departs by itself");
        break;
      case EventKind::kBlock:  // for no object: until everything else has come to rest
        if (event.object == 0 && callbacks_of_thread_[event.thread] != 0) {
          seen_.insert("attaches late");
        }
        break;
      case EventKind::kCallbackEnter:
        on_callback(event);
        break;
      case EventKind::kCallbackExit:
        --callbacks_of_thread_[event.thread];
        on_answer(event);
        break;
      case EventKind::kComplete:
        seen_.insert(callbacks_of_thread_[event.thread] != 0 ? "completes inside"
                     : event.irql == kernel::kDispatchLevel  ? "completes from a DPC"
                                                             : "completes from a thread");
        break;
      default:
        break;
    }
  }
  void on_register(const Event& event) {
    seen_.insert(event.thread == stage_                   ? "arrives before the module"
                 : late_threads_.count(event.thread) == 0 ? "arrives at any time"
                                                          : "arrives after the module");
    if (++registers_of_context_[event.b] == 2) {
      seen_.insert("comes back");
    }
  }
  void on_callback(const Event& event) {
    ++callbacks_of_thread_[event.thread];
    const auto callback = static_cast<Callback>(event.a);
    attaching_ += callback == Callback::kClientAttachProvider || callback == Callback::kProviderAttachClient ? 1 : 0;
  }
  static const char* name_of_answer(std::uint32_t status) {
    switch (static_cast<nmr::Status>(status)) {
      case kernel::kStatusSuccess:
        return "accepts";
      case kernel::kStatusNoInterface:
        return "declines";
      default:
        return "fails";
    }
  }
  void on_answer(const Event& event) {
    switch (static_cast<Callback>(event.a)) {
      case Callback::kClientAttachProvider:
        --attaching_;
        seen_.insert(std::string(name_of_answer(event.status)) + " as client");
        break;
      case Callback::kProviderAttachClient:
        --attaching_;
        seen_.insert(std::string(name_of_answer(event.status)) + " as provider");
        break;
      case Callback::kClientDetachProvider:
      case Callback::kProviderDetachClient:
        seen_.insert(event.status == 0 ? "detach succeeds" : "detach pends");
        break;
      default:
        break;
    }
  }

  trace::ThreadNumber stage_ = 0;
  bool module_is_loaded_ = false;
  bool released_ = false;
  std::map<std::uint64_t, int> registers_of_context_;
  std::map<trace::ThreadNumber, int> callbacks_of_thread_;
  int attaching_ = 0;
  std::set<trace::ThreadNumber> late_threads_;
  std::set<std::string> seen_;
};

// Peers of both roles of one NPI: they find each other, and nobody else is there.
class PeersTest : public ::testing::Test {
 protected:
  PeersTest()
      : kernel_before_(kernel::set_current_kernel(&kernel)), registrar_before_(nmr::set_current_registrar(&registrar)) {
    model.observe(recorder);
  }
  ~PeersTest() override {
    kernel::set_current_kernel(kernel_before_);
    nmr::set_current_registrar(registrar_before_);
  }

  EndReason run(schedule::Strategy& strategy, std::uint64_t seed, bool draws_world, std::span<const NpiUse> uses) {
    recorder.reset();
    strategy.begin(seed);
    scheduler.reset(strategy);
    const nmr::World world =
        draws_world
            ? nmr::draw_world([&](std::uint32_t n) { return scheduler.choose(n, schedule::ChoiceKind::kWorld); })
            : nmr::World{};
    kernel.reset({});
    registrar.reset(world);
    model.reset(options_of(world));
    as_module.reset();
    peers.reset();
    for (const NpiUse& use : uses) {
      for (std::uint32_t left = crowd; left > 0; --left) {
        peers.add(use, draw_behaviour());
      }
    }
    for (const auto& [use, behaviour] : plans) {
      peers.add(use, behaviour);
    }
    sightings.begin(kernel.spawn(schedule::ThreadRole::kTest, &PeersTest::stage, this, kernel::kPassiveLevel));
    const EndReason end = scheduler.run();
    model.finish(end == EndReason::kAllEnded);
    as_module.unload();
    return end;
  }
  // Each field by itself, with the odds of its table.
  Behaviour draw_behaviour() {
    BehaviourValues values{};
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = kBehaviourFields[i].applies(values) ? draw(kBehaviourFields[i]) : std::uint8_t{0};
    }
    return behaviour_of(values);
  }
  std::uint8_t draw(const BehaviourField& field) {
    std::uint32_t odds = 0;
    for (const Alternative& alternative : field.alternatives) {
      odds += alternative.weight;
    }
    std::uint32_t left = scheduler.choose(odds, schedule::ChoiceKind::kPeer);
    std::uint8_t value = 0;
    while (left >= field.alternatives[value].weight) {
      left -= field.alternatives[value++].weight;
    }
    return value;
  }
  static void stage(void* test) {
    PeersTest& self = *static_cast<PeersTest*>(test);
    self.peers.arrive_before();
    if (self.scheduler.choose(2, schedule::ChoiceKind::kMoment) == 1) {
      self.scheduler.wait_until_idle();
    }
    self.sightings.module_is_loaded();
    self.peers.arrive_after();
    if (self.scheduler.choose(2, schedule::ChoiceKind::kMoment) == 1) {
      self.scheduler.wait_until_idle();
    }
    self.sightings.released();
    self.peers.release();
  }

  std::uint32_t crowd = 1;                          // drawn peers for each use
  std::vector<std::pair<NpiUse, Behaviour>> plans;  // and these
  static constexpr NpiUse kBothRoles[] = {{{0x1111, 0x2222}, Role::kProvider}, {{0x1111, 0x2222}, Role::kClient}};

  std::unique_ptr<trace::EventRing> ring = std::make_unique<trace::EventRing>();
  std::unique_ptr<schedule::DecisionLog> decisions = std::make_unique<schedule::DecisionLog>();
  trace::Recorder recorder{*ring};
  schedule::Scheduler scheduler{recorder, *decisions};
  kernel::Kernel kernel{scheduler};
  nmr::FiberRegistrar registrar{nmr::FiberPort(kernel)};
  Peers peers{kernel, registrar};
  nmr::ReferenceModel model;
  AsModule as_module{recorder};
  Sightings sightings{recorder};

 private:
  kernel::Kernel* kernel_before_;
  nmr::FiberRegistrar* registrar_before_;
};

constexpr std::uint64_t kExecutions = 4000;

TEST_F(PeersTest, PeersKeepEveryRuleInEveryWorld) {
  schedule::RandomWalk random;
  for (std::uint64_t seed = 1; seed <= kExecutions; ++seed) {
    ASSERT_EQ(run(random, seed, seed % 2 == 0, kBothRoles), EndReason::kAllEnded) << "seed " << seed;
    ASSERT_TRUE(as_module.findings().empty())
        << "seed " << seed << ": " << as_module.findings().front() << ", world " << text_of(registrar.world());
    ASSERT_TRUE(model.disagreements().empty())
        << "seed " << seed << ": " << model.disagreements().front() << ", world " << text_of(registrar.world());
  }
}

TEST_F(PeersTest, CrowdsKeepEveryRuleToo) {
  schedule::RandomWalk random;
  crowd = 3;
  for (std::uint64_t seed = 1; seed <= kExecutions / 4; ++seed) {
    ASSERT_EQ(run(random, seed, true, kBothRoles), EndReason::kAllEnded) << "seed " << seed;
    ASSERT_TRUE(as_module.findings().empty())
        << "seed " << seed << ": " << as_module.findings().front() << ", world " << text_of(registrar.world());
    ASSERT_TRUE(model.disagreements().empty())
        << "seed " << seed << ": " << model.disagreements().front() << ", world " << text_of(registrar.world());
  }
}

TEST_F(PeersTest, EachBehaviourIsReached) {
  schedule::RandomWalk random;
  for (std::uint64_t seed = 1; seed <= kExecutions; ++seed) {
    run(random, seed, false, kBothRoles);
  }
  const std::set<std::string> expected = {"arrives before the module",
                                          "arrives at any time",
                                          "arrives after the module",
                                          "accepts as client",
                                          "declines as client",
                                          "fails as client",
                                          "accepts as provider",
                                          "declines as provider",
                                          "fails as provider",
                                          "attaches late",
                                          "detach succeeds",
                                          "detach pends",
                                          "completes inside",
                                          "completes from a thread",
                                          "completes from a DPC",
                                          "departs after the module",
                                          "departs by itself",
                                          "departs during an attach",
                                          "departs at dispatch",
                                          "departs at passive",
                                          "comes back"};
  EXPECT_EQ(sightings.seen(), expected);
}

// The plainest execution: what comes of a decision source that has run out.
TEST_F(PeersTest, FirstAlternativesAreOnePeerThatAcceptsAndLeavesLast) {
  schedule::ByteSource nothing({});
  ASSERT_EQ(run(nothing, 0, false, kBothRoles), EndReason::kAllEnded);
  EXPECT_EQ(registrar.registrations(), 2U);
  EXPECT_EQ(registrar.bindings(), 1U);
  EXPECT_EQ(sightings.seen(),
            (std::set<std::string>{"arrives before the module", "accepts as client", "accepts as provider",
                                   "detach succeeds", "departs after the module", "departs at passive"}));
}

TEST_F(PeersTest, ComeInTheOtherRole) {
  constexpr NpiUse kProvided[] = {{{0x1111, 0x2222}, Role::kProvider}};
  crowd = 2;
  std::size_t most = 0;
  schedule::RandomWalk random;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    ASSERT_EQ(run(random, seed, false, kProvided), EndReason::kAllEnded);
    most = std::max(most, registrar.registrations());
    for (trace::ObjectNumber number = 1; number <= registrar.registrations(); ++number) {
      ASSERT_EQ(registrar.registration(number).role, Role::kClient);
      ASSERT_EQ(registrar.registration(number).characteristics.npi, kProvided[0].id);
    }
  }
  EXPECT_GE(most, 4U) << "two peers that come back";
}

TEST_F(PeersTest, DeclinesAtFirstThenAccepts) {
  schedule::ByteSource nothing({});
  Behaviour declining;
  declining.answer = Answer::kDeclineAtFirst;
  plans = {{kBothRoles[0], declining}, {kBothRoles[1], {}}, {kBothRoles[1], {}}};
  ASSERT_EQ(run(nothing, 0, false, {}), EndReason::kAllEnded);
  EXPECT_EQ(registrar.bindings(), 2U);
  EXPECT_TRUE(sightings.seen().contains("declines as client"));
  EXPECT_TRUE(sightings.seen().contains("accepts as client"));
}

// The first detach completes after the next detach callback has been called, not before. (Peers on both sides: that is
// the other side's.)
TEST_F(PeersTest, ACompletionWaitsForTheNextDetach) {
  Behaviour overtaken;
  overtaken.first_detach = Detach::kCompleteAfterNext;
  overtaken.later_detach = Detach::kSucceed;
  plans = {{kBothRoles[0], overtaken}, {kBothRoles[1], {}}, {kBothRoles[1], {}}};
  schedule::RandomWalk random;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    ASSERT_EQ(run(random, seed, false, {}), EndReason::kAllEnded);
    std::uint64_t detaches = 0;
    std::uint64_t detaches_at_completion = 0;
    for (std::uint64_t i = 0; i < recorder.size(); ++i) {
      const Event& event = recorder.at(i);
      const bool detach = event.kind == EventKind::kCallbackEnter &&
                          (event.a == static_cast<std::uint64_t>(Callback::kClientDetachProvider) ||
                           event.a == static_cast<std::uint64_t>(Callback::kProviderDetachClient));
      detaches += detach ? 1 : 0;
      detaches_at_completion = event.kind == EventKind::kComplete ? detaches : detaches_at_completion;
    }
    ASSERT_EQ(detaches, 4U);
    ASSERT_GE(detaches_at_completion, 2U) << "seed " << seed;
  }
}

TEST_F(PeersTest, NobodyComesForNothing) {
  schedule::RandomWalk random;
  EXPECT_EQ(run(random, 1, true, {}), EndReason::kAllEnded);
  EXPECT_EQ(registrar.registrations(), 0U);
}

// What calls are told apart by: each side is given the table that stands for this binding and this side.
TEST_F(PeersTest, EachBindingHasTablesOfItsOwn) {
  schedule::RandomWalk random;
  std::size_t accepted = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    ASSERT_EQ(run(random, seed, false, kBothRoles), EndReason::kAllEnded);
    for (trace::ObjectNumber number = 1; number <= registrar.bindings(); ++number) {
      const nmr::Side& provider = registrar.binding(number).sides[nmr::index_of(Role::kProvider)];
      const nmr::Side& client = registrar.binding(number).sides[nmr::index_of(Role::kClient)];
      if (provider.progress == nmr::DetachProgress::kDone) {  // it had accepted
        ASSERT_EQ(provider.dispatch, dispatch_stubs(Role::kClient, number));
        ASSERT_EQ(client.dispatch, dispatch_stubs(Role::kProvider, number));
        ++accepted;
      }
    }
  }
  EXPECT_GT(accepted, 50U);
}

}  // namespace
}  // namespace nmrfuzz::peers
