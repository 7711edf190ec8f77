#include "fuzz/reproducer.h"

#include <gtest/gtest.h>

#include <ostream>

#include "fuzz/words.h"

namespace nmrfuzz::fuzz {
namespace {

Reproducer full() {
  Reproducer reproducer;
  reproducer.modules = {{"detach-neither", {}}, {"src/a.c+src/b.c", {"-Iinclude", "-DX=a b"}}};
  reproducer.source_hash = 0x0123456789abcdef;
  reproducer.kind = contract::FindingKind::kDeadlock;
  reproducer.rule = "R68";
  reproducer.title = "every thread waits: t1 in KeWaitForSingleObject # not a comment";
  reproducer.signature = "deadlock:R68::KeWaitForSingleObject";
  reproducer.trace_hash = 0xfedcba9876543210;
  reproducer.events = 311;
  reproducer.scenario.shape = {2, 2};
  reproducer.scenario.scenario = plain_scenario({2, 2});
  reproducer.scenario.scenario.peers[1].behaviour.arrival = peers::Arrival::kAfter;
  reproducer.strategy = "pct";
  reproducer.seed = 1;
  reproducer.schedule = 42;
  reproducer.decisions = {1, 1, 1, 2, 1};
  reproducer.decisions.insert(reproducer.decisions.end(), 17, 0);
  return reproducer;
}

Reproducer parse_good(const std::string& text) {
  std::string error;
  const auto parsed = parse_reproducer(text, "f", error);
  EXPECT_TRUE(parsed) << error << "\n" << text;
  return parsed.value_or(Reproducer());
}

TEST(Reproducer, PrintsAsDocumented) {
  EXPECT_EQ(print(full()),
            "nmrfuzz reproducer 3\n"
            "module detach-neither\n"
            "module src/a.c+src/b.c\n"
            "option -Iinclude\n"
            "option -DX=a b\n"
            "source-hash 0123456789abcdef\n"
            "kind deadlock\n"
            "rule R68\n"
            "title every thread waits: t1 in KeWaitForSingleObject # not a comment\n"
            "signature deadlock:R68::KeWaitForSingleObject\n"
            "trace-hash fedcba9876543210\n"
            "events 311\n"
            "step-limit 100000\n"
            "needs access-points\n"
            "found strategy=pct seed=1 schedule=42 build=plain\n"
            "npis 2\n"
            "world windows\n"
            "faults none\n"
            "unload 1 at-rest\n"
            "unload 2 at-rest\n"
            "peer 1\n"
            "peer 2 arrival=after\n"
            "decisions 22\n"
            "  1*3 2 1 0*17\n"
            "end\n");
}

TEST(Reproducer, ParsesWhatItPrints) {
  Reproducer pinned = full();
  pinned.step_limit = 7;
  pinned.strict = true;
  pinned.scenario.scenario.faults = {FaultMode::kPlanned, {3, 17}};
  ASSERT_EQ(nmr::apply(pinned.scenario.scenario.world, "double_wait=tolerate"), std::nullopt);
  pinned.build = module::Variant::kAsan;
  Reproducer bare = full();
  bare.access_points = false;
  bare.rule.clear();
  bare.title.clear();
  bare.signature.clear();
  bare.decisions.clear();
  Reproducer many = full();
  many.decisions.clear();
  for (std::uint32_t i = 0; i < 5000; ++i) {
    many.decisions.push_back(static_cast<std::uint16_t>(i * 40503U));
  }
  for (const Reproducer& each : {full(), pinned, bare, many}) {
    EXPECT_EQ(parse_good(print(each)), each) << print(each);
  }
}

TEST(Reproducer, WrapsDecisions) {
  Reproducer many = full();
  many.decisions.clear();
  for (std::uint16_t i = 0; i < 300; ++i) {
    many.decisions.push_back(i);
  }
  for (const std::string& line : split(print(many), '\n')) {
    EXPECT_LE(line.size(), 100U) << line;
  }
}

TEST(Reproducer, TextFromModulesStaysOnItsLine) {
  Reproducer odd = full();
  odd.title = "a\nend\nb";
  EXPECT_EQ(parse_good(print(odd)).title, "a end b");
}

TEST(Reproducer, IgnoresCommentsBlankLinesAndCarriageReturns) {
  std::string text;
  for (const std::string& line : split(print(full()), '\n')) {
    text += line + "  \r\n  # a comment\n\n";
  }
  EXPECT_EQ(parse_good(text), full());
}

struct Bad {
  const char* replaced;  // in the text of full()
  const char* by;
  const char* error;
};

void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.error; }

class BadReproducer : public testing::TestWithParam<Bad> {};

TEST_P(BadReproducer, IsRefusedWithItsLine) {
  std::string text = print(full());
  const std::size_t at = text.find(GetParam().replaced);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, std::string(GetParam().replaced).size(), GetParam().by);
  std::string error;
  EXPECT_FALSE(parse_reproducer(text, "f.txt", error)) << text;
  EXPECT_EQ(error.substr(0, std::string(GetParam().error).size()), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadReproducer,
    testing::Values(
        Bad{"nmrfuzz reproducer 3", "garbage", "f.txt:1: not a reproducer"},
        Bad{"nmrfuzz reproducer 3", "nmrfuzz reproducer 4", "f.txt:1: version '4', expected 1 to 3"},
        Bad{"nmrfuzz reproducer 3", "nmrfuzz reproducer 0", "f.txt:1: version '0', expected 1 to 3"},
        Bad{"nmrfuzz reproducer 3", "nmrfuzz reproducer 2", "f.txt:14: unknown key 'needs'"},
        Bad{"nmrfuzz reproducer 3", "nmrfuzz reproducer 1", "f.txt:14: unknown key 'needs'"},
        Bad{"needs access-points", "needs acces-points", "f.txt:14: needs 'acces-points', which this nmrfuzz does not"},
        Bad{"needs access-points", "needs access-points time-travel", "f.txt:14: needs 'time-travel', which this"},
        Bad{"needs access-points", "needs", "f.txt:14: needs ''"},
        Bad{"needs access-points", "needs access-points\nneeds access-points", "f.txt:15: 'needs' a second time"},
        Bad{"\nend\n", "\n", "f.txt:24: the file ends here"},
        Bad{"\nend\n", "\nend\nmore\n", "f.txt:26: 'more' after 'end'"},
        Bad{"decisions 22\n", "decisions 21\n", "f.txt:25: 22 decisions up to here, expected 21"},
        Bad{"decisions 22\n", "decisions 99999999\n", "f.txt:23: '99999999', expected a number up to 1048576"},
        Bad{"decisions 22\n", "decisions -1\n", "f.txt:23: '-1', expected"},
        Bad{"0*17", "0*99999999", "f.txt:24: more than 1048576 decisions"},
        Bad{"0*17", "0*18446744073709551615", "f.txt:24: more than 1048576 decisions"},
        Bad{"0*17", "0*0", "f.txt:24: '0*0', expected a decision"},
        Bad{"0*17", "0*", "f.txt:24: '0*', expected a decision"},
        Bad{"0*17", "65536*17", "f.txt:24: '65536*17', expected a decision"},
        Bad{"0*17", "x", "f.txt:24: 'x', expected a decision"},
        Bad{"rule R68", "rile R68", "f.txt:8: unknown key 'rile', did you mean 'rule'?"},
        Bad{"rule R68", "kind livelock", "f.txt:8: 'kind' a second time"},
        Bad{"rule R68", "rule", "f.txt:8: 'rule' without a value"},
        Bad{"kind deadlock", "kind deadlok", "f.txt:7: 'deadlok' is no kind of finding, did you mean 'deadlock'?"},
        Bad{"kind deadlock", "kind harness-fault", "f.txt:7: 'harness-fault' is no kind"},
        Bad{"source-hash 0123456789abcdef", "source-hash 123", "f.txt:6: '123', expected 16"},
        Bad{"trace-hash fedcba9876543210\n", "", "f.txt:22: no 'trace-hash' line"},
        Bad{"module detach-neither\nmodule src/a.c+src/b.c\n", "", "f.txt:2: 'option' before any 'module'"},
        Bad{"module detach-neither\n", "", "f.txt:22: 2 'unload' lines, expected one for each of 1 modules"},
        Bad{"world windows", "world any", "f.txt:17: 'any' is no world"},
        Bad{"faults none", "faults yes", "f.txt:18: faults 'yes', expected none, drawn"},
        Bad{"unload 2 at-rest\n", "", "f.txt:22: 1 'unload' lines"},
        Bad{"peer 1\n", "peer 3\n", "f.txt:23: a peer for NPI 3, expected NPIs from 1 to 2"},
        Bad{"peer 1\n", "peer 1 visits=2\n", "f.txt:23: a peer's visits is for one that departs before"},
        Bad{"arrival=after", "arival=after", "f.txt:22: 'arival' is nothing that a peer does, did you mean 'arrival'?"},
        Bad{"arrival=after", "arrival=late", "f.txt:22: a peer's arrival is 'late', expected one of: before, "},
        Bad{"events 311", "events many", "f.txt:12: 'many', expected a number"},
        Bad{"title every", "title \x01", "f.txt:9: a control character"},
        Bad{"seed=1 ", "", "f.txt:15: expected strategy="},
        Bad{"seed=1 ", "seed=1 seed=1 ", "f.txt:15: 'seed' a second time"},
        Bad{"seed=1 ", "seed=x ", "f.txt:15: 'seed=x', expected"}));

TEST(Reproducer, TheLogIsTheScenarioAndTheDecisions) {
  const Decisions log = log_of(full());
  Reproducer taken = full();
  taken.scenario = {};
  taken.decisions.clear();
  ASSERT_TRUE(take_log(log, taken));
  EXPECT_EQ(taken, full());
  EXPECT_FALSE(take_log({}, taken));
}

TEST(Reproducer, EveryTruncationIsRefused) {
  const std::string text = print(full());
  // Without its last line break it still says all.
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    std::string error;
    EXPECT_FALSE(parse_reproducer(text.substr(0, size), "f", error)) << size;
    EXPECT_FALSE(error.empty());
  }
}

TEST(Reproducer, FilesThatCannotBeReadAreSaidSo) {
  std::string error;
  EXPECT_FALSE(read_reproducer("/no/such/file", error));
  EXPECT_EQ(error, "/no/such/file: No such file or directory");
  EXPECT_FALSE(read_reproducer("/", error));
  EXPECT_EQ(error, "/: Is a directory");
}

}  // namespace
}  // namespace nmrfuzz::fuzz
