#include "fuzz/scenario_codec.h"

#include <algorithm>

namespace nmrfuzz::fuzz {

using schedule::ChoiceKind;

namespace {

// The odds of values from 0 on that are no behaviour of a peer and no world.
constexpr std::uint8_t kFlagWeights[] = {1, 1};
constexpr std::uint8_t kFaultModeWeights[] = {8, 3, 1};
constexpr std::uint8_t kMomentWeights[] = {1, 1, 1};
constexpr std::uint8_t kFurtherLivesWeights[] = {10, 1, 1};
static_assert(std::size(kFurtherLivesWeights) == ModulePlan::kLivesMaximum);
constexpr std::uint8_t kPeerCountWeights[] = {1, 11, 4, 1, 0, 0, 0, 0, 0};  // 0 to Scenario::kPeersPerNpi
static_assert(std::size(kPeerCountWeights) == Scenario::kPeersPerNpi + 1);
constexpr std::uint8_t kPreemptionWeights[] = {6, 4, 3, 2, 1, 0, 0, 0, 0};
static_assert(std::size(kPreemptionWeights) == Scenario::kPreemptionsMaximum + 1);
constexpr std::uint8_t kPlainPeerCount = 1;
constexpr std::uint16_t kCallsMaximum = 0xffff;

// Walks over all fields in their order. A codec has
//   choice(value, count, weight, kind)  value below `count`; weight(i) are the odds of i when drawn
//   number(value, from, to, kind)       value from `from` to `to`
//   distance(value, to)                 value from 1 to `to`, in numbers of accesses
//   draws_world() draws_faults() draws_preemptions() draws_peer_count()
//                                       whether these are taken from it, or stay as they are
template <class Codec>
class Walk {
 public:
  Walk(Codec& codec, Scenario& scenario, const ScenarioShape& shape)
      : codec_(codec), scenario_(scenario), shape_(shape) {}

  void run() {
    if (codec_.draws_world()) {
      world(scenario_.world);
    }
    if (codec_.draws_faults()) {
      faults(scenario_.faults);
    }
    for (ModulePlan& plan : scenario_.modules) {
      module(plan);
    }
    if (codec_.draws_preemptions()) {
      preemptions(scenario_.preemptions);
    }
    peers();
  }

 private:
  void weighted(std::uint8_t& value, std::span<const std::uint8_t> weights, ChoiceKind kind) {
    codec_.choice(value, weights.size(), [weights](std::size_t i) { return weights[i]; }, kind);
  }

  // Half of the executions are in the plainest world, so that what needs no oddity is found without one.
  void world(nmr::World& world) {
    std::uint8_t odd = world == nmr::World{} ? 0 : 1;
    weighted(odd, kFlagWeights, ChoiceKind::kWorld);
    if (odd == 0) {
      return;  // who reads has begun with that world
    }
    for (const nmr::Switch& each : nmr::switches()) {
      const auto weight = [&each](std::size_t i) { return each.variants[i].drawn ? 1 : 0; };
      codec_.choice(each.field(world), each.variants.size(), weight, ChoiceKind::kWorld);
    }
  }

  void faults(FaultPlan& plan) {
    auto mode = static_cast<std::uint8_t>(plan.mode);
    weighted(mode, kFaultModeWeights, ChoiceKind::kFault);
    plan.mode = static_cast<FaultMode>(mode);
    if (plan.mode != FaultMode::kPlanned) {
      plan.calls = {};
      return;
    }
    codec_.number(plan.calls[0], 1, kCallsMaximum, ChoiceKind::kFault);
    std::uint8_t both = plan.calls[1] != 0 ? 1 : 0;
    weighted(both, kFlagWeights, ChoiceKind::kFault);
    if (both == 0 || plan.calls[0] == kCallsMaximum) {
      plan.calls[1] = 0;
    } else {
      codec_.number(plan.calls[1], static_cast<std::uint16_t>(plan.calls[0] + 1), kCallsMaximum, ChoiceKind::kFault);
    }
  }

  void module(ModulePlan& plan) {
    auto moment = static_cast<std::uint8_t>(plan.moment);
    weighted(moment, kMomentWeights, ChoiceKind::kMoment);
    plan.moment = static_cast<UnloadMoment>(moment);
    std::uint16_t steps = plan.steps;
    if (plan.moment == UnloadMoment::kSoon) {
      codec_.number(steps, 1, ModulePlan::kSoonMaximum, ChoiceKind::kMoment);
    } else {
      steps = 0;
    }
    plan.steps = static_cast<std::uint8_t>(steps);
    auto further = static_cast<std::uint8_t>(plan.lives - 1);
    weighted(further, kFurtherLivesWeights, ChoiceKind::kMoment);
    plan.lives = static_cast<std::uint8_t>(further + 1);
  }

  // Each as its distance from the one before, which leaves room for those behind it.
  void preemptions(std::vector<std::uint32_t>& ordinals) {
    auto count = static_cast<std::uint8_t>(ordinals.size());
    weighted(count, kPreemptionWeights, ChoiceKind::kMoment);
    ordinals.resize(count);
    std::uint32_t previous = 0;
    std::uint32_t left = count;
    for (std::uint32_t& ordinal : ordinals) {
      const std::uint32_t most = Scenario::kOrdinalMaximum - previous - --left;
      std::uint32_t distance = codec_.reads() ? 1 : ordinal - previous;
      codec_.distance(distance, most);
      ordinal = previous + distance;
      previous = ordinal;
    }
  }

  // The peers lie in one list: those of the next NPI begin where those of this one end.
  void peers() {
    std::size_t next = 0;
    for (std::uint32_t npi = 1; npi <= shape_.npis; ++npi) {
      std::uint8_t count = codec_.reads() ? kPlainPeerCount : count_at(next, npi);
      if (codec_.draws_peer_count()) {
        weighted(count, kPeerCountWeights, ChoiceKind::kPeer);
      }
      for (std::uint8_t i = 0; i < count; ++i, ++next) {
        if (codec_.reads()) {
          scenario_.peers.push_back({npi, {}});
        }
        peer(scenario_.peers[next].behaviour);
      }
    }
  }

  std::uint8_t count_at(std::size_t next, std::uint32_t npi) const {
    std::uint8_t count = 0;
    while (next + count < scenario_.peers.size() && scenario_.peers[next + count].npi == npi) {
      ++count;
    }
    return count;
  }

  void peer(peers::Behaviour& behaviour) {
    peers::BehaviourValues values = peers::values_of(behaviour);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const peers::BehaviourField& field = peers::kBehaviourFields[i];
      if (field.applies(values)) {
        const auto weight = [&field](std::size_t value) { return field.alternatives[value].weight; };
        codec_.choice(values[i], field.alternatives.size(), weight, ChoiceKind::kPeer);
      } else {
        values[i] = 0;
      }
    }
    behaviour = peers::behaviour_of(values);
  }

  Codec& codec_;
  Scenario& scenario_;
  const ScenarioShape& shape_;
};

// From a strategy. The plain value is what its first answer stands for.
class Drawing {
 public:
  Drawing(schedule::Strategy& strategy, const ScenarioLimits& limits) : strategy_(strategy), limits_(limits) {}

  static bool reads() { return true; }
  bool draws_world() const { return limits_.any_world; }
  bool draws_faults() const { return limits_.faults; }
  bool draws_peer_count() const { return !limits_.one_peer; }
  bool draws_preemptions() const { return limits_.accesses != 0; }

  template <class Weight>
  void choice(std::uint8_t& value, std::size_t count, Weight weight, ChoiceKind kind) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      sum += weight(i);
    }
    // Counted from the plain value on, which `value` holds.
    std::uint32_t left = sum > 1 ? strategy_.choose(sum, kind) : 0;
    std::size_t chosen = value;
    while (left >= static_cast<std::uint32_t>(weight(chosen))) {
      left -= weight(chosen);
      chosen = chosen + 1 == count ? 0 : chosen + 1;
    }
    value = static_cast<std::uint8_t>(chosen);
  }
  void number(std::uint16_t& value, std::uint16_t from, std::uint16_t to, ChoiceKind kind) {
    if (kind == ChoiceKind::kFault) {
      const std::uint32_t most = std::max<std::uint32_t>(limits_.fallible_calls, from);
      to = static_cast<std::uint16_t>(std::min<std::uint32_t>(to, most));
    }
    const std::uint32_t range = to - from + 1U;
    value = static_cast<std::uint16_t>(from + (range > 1 ? strategy_.choose(range, kind) : 0));
  }
  // The first anywhere in an execution, which may be longer than the probe. Those behind it near or far.
  void distance(std::uint32_t& value, std::uint32_t to) {
    constexpr std::uint32_t kScales = 5;
    constexpr unsigned kBitsPerScale = 2;
    const std::uint32_t accesses = std::max(2U, limits_.accesses + limits_.accesses / 2);
    const unsigned shift = first_ ? 0 : kBitsPerScale * strategy_.choose(kScales, ChoiceKind::kMoment);
    first_ = false;
    value = std::min(to, 1 + strategy_.choose(std::max(2U, accesses >> shift), ChoiceKind::kMoment));
  }

 private:
  bool first_ = true;
  schedule::Strategy& strategy_;
  const ScenarioLimits& limits_;
};

// What the codecs of written scenarios have in common: no field is left out.
struct Whole {
  static bool draws_world() { return true; }
  static bool draws_faults() { return true; }
  static bool draws_peer_count() { return true; }
  static bool draws_preemptions() { return true; }
};

constexpr unsigned kHalf = 16;  // bits: a distance is two numbers

class WritingNumbers : public Whole {
 public:
  explicit WritingNumbers(std::span<std::uint16_t> room) : room_(room) {}

  static bool reads() { return false; }
  template <class Weight>
  void choice(std::uint8_t& value, std::size_t, Weight, ChoiceKind) {
    write(value);
  }
  void number(std::uint16_t& value, std::uint16_t, std::uint16_t, ChoiceKind) { write(value); }
  void distance(std::uint32_t& value, std::uint32_t) {
    write(value >> kHalf);
    write(value);
  }
  void write(std::uint32_t value) {
    if (count_ < room_.size()) {
      room_[count_] = static_cast<std::uint16_t>(value);
    }
    ++count_;
  }
  std::size_t count() const { return count_; }

 private:
  std::span<std::uint16_t> room_;
  std::size_t count_ = 0;
};

class ReadingNumbers : public Whole {
 public:
  explicit ReadingNumbers(std::span<const std::uint16_t> numbers) : numbers_(numbers) {}

  static bool reads() { return true; }
  template <class Weight>
  void choice(std::uint8_t& value, std::size_t count, Weight, ChoiceKind) {
    value = static_cast<std::uint8_t>(read(0, static_cast<std::uint16_t>(count - 1)));
  }
  void number(std::uint16_t& value, std::uint16_t from, std::uint16_t to, ChoiceKind) { value = read(from, to); }
  void distance(std::uint32_t& value, std::uint32_t to) {
    value = std::uint32_t{read(0, static_cast<std::uint16_t>(to >> kHalf))} << kHalf;
    value |= read(0, 0xffff);
    good_ = good_ && value >= 1 && value <= to;
  }
  bool good() const { return good_; }
  std::size_t used() const { return used_; }
  std::uint16_t read(std::uint16_t from, std::uint16_t to) {
    if (used_ == numbers_.size() || numbers_[used_] < from || numbers_[used_] > to) {
      good_ = false;
      return from;
    }
    return numbers_[used_++];
  }

 private:
  std::span<const std::uint16_t> numbers_;
  std::size_t used_ = 0;
  bool good_ = true;
};

constexpr unsigned kDistanceBytes = 3;

// One byte a value, two for a number above 256, three for a distance. A byte that is not there is the plain value's,
// which `value` holds.
class WritingBytes : public Whole {
 public:
  static bool reads() { return false; }
  template <class Weight>
  void choice(std::uint8_t& value, std::size_t, Weight, ChoiceKind) {
    bytes_.push_back(value);
  }
  void number(std::uint16_t& value, std::uint16_t from, std::uint16_t to, ChoiceKind) {
    const auto offset = static_cast<std::uint16_t>(value - from);
    if (to - from > 0xff) {
      bytes_.push_back(static_cast<std::uint8_t>(offset >> 8));
    }
    bytes_.push_back(static_cast<std::uint8_t>(offset));
  }
  void distance(std::uint32_t& value, std::uint32_t) {
    for (unsigned shift = kDistanceBytes * 8; shift != 0; shift -= 8) {
      bytes_.push_back(static_cast<std::uint8_t>((value - 1) >> (shift - 8)));
    }
  }
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

class ReadingBytes : public Whole {
 public:
  explicit ReadingBytes(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  static bool reads() { return true; }
  template <class Weight>
  void choice(std::uint8_t& value, std::size_t count, Weight weight, ChoiceKind kind) {
    if (used_ == bytes_.size()) {
      return;
    }
    const auto read = static_cast<std::uint8_t>(bytes_[used_++] % count);
    value = kind == ChoiceKind::kWorld && weight(read) == 0 ? std::uint8_t{0} : read;
  }
  void number(std::uint16_t& value, std::uint16_t from, std::uint16_t to, ChoiceKind) {
    const unsigned bytes = to == from ? 0 : to - from > 0xff ? 2 : 1;
    value = static_cast<std::uint16_t>(from + read(bytes) % (to - from + 1U));
  }
  void distance(std::uint32_t& value, std::uint32_t to) { value = 1 + read(kDistanceBytes) % to; }
  std::size_t used() const { return used_; }

 private:
  // That many bytes as one number; 0 for those that are not there.
  std::uint32_t read(unsigned bytes) {
    std::uint32_t number = 0;
    for (; bytes != 0; --bytes) {
      number = number << 8 | (used_ < bytes_.size() ? bytes_[used_++] : 0U);
    }
    return number;
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t used_ = 0;
};

// Everything plain but the peers, which a reading codec adds.
void make_plain(const ScenarioShape& shape, const nmr::World& world, Scenario& scenario) {
  scenario.world = world;
  scenario.faults = {};
  scenario.modules.assign(shape.modules, {});
  scenario.preemptions.clear();
  scenario.peers.clear();
}

}  // namespace

void draw_scenario(schedule::Strategy& strategy, const ScenarioLimits& limits, const ScenarioShape& shape,
                   Scenario& scenario) {
  make_plain(shape, limits.plain_world(), scenario);
  Drawing drawing(strategy, limits);
  Walk(drawing, scenario, shape).run();
}

std::size_t encode_scenario(const Scenario& scenario, const ScenarioShape& shape, std::span<std::uint16_t> room) {
  WritingNumbers writing(room);
  writing.write(shape.npis);
  writing.write(shape.modules);
  // A writing codec changes nothing.
  Walk(writing, const_cast<Scenario&>(scenario), shape).run();
  return writing.count();
}

std::optional<ShapedScenario> decode_scenario(std::span<const std::uint16_t> numbers, std::size_t& used) {
  ReadingNumbers reading(numbers);
  ShapedScenario decoded;
  decoded.shape.npis = reading.read(0, ScenarioShape::kNpisMaximum);
  decoded.shape.modules = reading.read(1, ScenarioShape::kModulesMaximum);
  make_plain(decoded.shape, {}, decoded.scenario);
  Walk(reading, decoded.scenario, decoded.shape).run();
  used = reading.used();
  return reading.good() ? std::optional(std::move(decoded)) : std::nullopt;
}

std::vector<std::uint8_t> scenario_to_bytes(const Scenario& scenario, const ScenarioShape& shape) {
  WritingBytes writing;
  Walk(writing, const_cast<Scenario&>(scenario), shape).run();
  return writing.take();
}

Scenario scenario_from_bytes(std::span<const std::uint8_t> bytes, const ScenarioShape& shape, std::size_t& used) {
  Scenario scenario;
  make_plain(shape, {}, scenario);
  ReadingBytes reading(bytes);
  Walk(reading, scenario, shape).run();
  used = reading.used();
  return scenario;
}

}  // namespace nmrfuzz::fuzz
