#include "fuzz/replayer.h"

#include <gtest/gtest.h>

namespace nmrfuzz::fuzz {
namespace {

constexpr std::uint64_t kHash = 100;
constexpr std::uint64_t kOther = 200;

struct Case {
  const char* name;
  Replayed replayed;
  module::Variant build;
  bool same_source;
  Verdict expected;
};

Replayed of(const char* kind, std::uint64_t hash, std::uint64_t hash_at_events) {
  Replayed replayed;
  replayed.kind = kind;
  replayed.rule = *kind == '\0' ? "" : "R68";
  replayed.hash = hash;
  replayed.events = 10;
  replayed.hash_at_events = hash_at_events;
  return replayed;
}

class Judge : public testing::TestWithParam<Case> {};

TEST_P(Judge, SaysWhatBecameOfTheFinding) {
  Reproducer reproducer;
  reproducer.kind = contract::FindingKind::kDeadlock;
  reproducer.rule = "R68";
  reproducer.trace_hash = kHash;
  reproducer.events = 10;
  const Case& each = GetParam();
  const Judged judged = judge(reproducer, each.replayed, each.build, each.same_source);
  EXPECT_EQ(judged.verdict, each.expected);
  const bool differs = each.expected == Verdict::kDiverged || each.expected == Verdict::kMoved;
  EXPECT_EQ(!judged.text.empty(), differs) << judged.text;
}

constexpr auto kPlain = module::Variant::kPlain;
constexpr auto kAsan = module::Variant::kAsan;

INSTANTIATE_TEST_SUITE_P(
    Cases, Judge,
    testing::Values(Case{"again", of("deadlock", kHash, kHash), kPlain, true, Verdict::kReproduced},
                    Case{"again_elsewhere", of("deadlock", kHash, kHash), kAsan, true, Verdict::kReproduced},
                    Case{"again_in_changed", of("deadlock", kHash, kHash), kPlain, false, Verdict::kReproduced},
                    Case{"other_hash", of("deadlock", kOther, kOther), kPlain, true, Verdict::kDiverged},
                    Case{"other_hash_in_changed", of("deadlock", kOther, 0), kPlain, false, Verdict::kMoved},
                    Case{"other_kind", of("livelock", kHash, kHash), kPlain, true, Verdict::kDiverged},
                    Case{"other_kind_in_changed", of("livelock", kOther, 0), kPlain, false, Verdict::kDiverged},
                    Case{"blind_build", of("", kOther, kHash), kAsan, true, Verdict::kReached},
                    Case{"blind_build_dies_of_it", of("wild-access", kHash, kHash), kAsan, true, Verdict::kReached},
                    Case{"rule_changed", of("", kOther, kHash), kPlain, true, Verdict::kGone},
                    Case{"fixed", of("", kOther, 0), kPlain, false, Verdict::kGone},
                    Case{"other_events", of("", kOther, 0), kPlain, true, Verdict::kDiverged}),
    [](const auto& info) { return info.param.name; });

TEST(Judgement, NamesTheEventWhereItDiverged) {
  Replayed replayed = of("", kOther, 0);
  replayed.diverged_at = 7;
  Reproducer reproducer;
  reproducer.trace_hash = kHash;
  EXPECT_TRUE(judge(reproducer, replayed, kPlain, true).text.starts_with("diverged at event 7"));
}

}  // namespace
}  // namespace nmrfuzz::fuzz
