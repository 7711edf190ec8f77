#include "contract/finding.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace nmrfuzz::contract {
namespace {

std::vector<FindingKind> all_kinds() {
  std::vector<FindingKind> kinds;
  kinds.reserve(kFindingKinds);
  for (std::size_t i = 0; i < kFindingKinds; ++i) {
    kinds.push_back(static_cast<FindingKind>(i));
  }
  return kinds;
}

TEST(FindingTest, EachKindHasANameThatLeadsBack) {
  std::set<std::string_view> names;
  for (const FindingKind kind : all_kinds()) {
    const std::string_view name = name_of(kind);
    EXPECT_FALSE(name.empty()) << static_cast<int>(kind);
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string_view::npos) << name;
    EXPECT_TRUE(names.insert(name).second) << name << " names two kinds";
    EXPECT_EQ(kind_of_name(name), kind) << name;
  }
}

TEST(FindingTest, EachKindHasASentenceOfItsOwn) {
  std::set<std::string_view> sentences;
  for (const FindingKind kind : all_kinds()) {
    const std::string_view sentence = sentence_of(kind);
    ASSERT_FALSE(sentence.empty()) << name_of(kind);
    EXPECT_TRUE(sentence.ends_with('.')) << sentence;
    EXPECT_TRUE(sentences.insert(sentence).second) << sentence;
  }
}

TEST(FindingTest, OtherNamesNameNoKind) {
  for (const char* name : {"", "unload", "Deadlock", "deadlock ", "kDeadlock", "none"}) {
    EXPECT_EQ(kind_of_name(name), std::nullopt) << name;
  }
}

// What reports, JSON and reproducers have said since the first version.
TEST(FindingTest, NamesStayAtTheirKinds) {
  EXPECT_EQ(name_of(FindingKind::kUnloadRegistered), "unload-registered");
  EXPECT_EQ(name_of(FindingKind::kUnloadPending), "unload-pending");
  EXPECT_EQ(name_of(FindingKind::kUnloadRunning), "unload-running");
  EXPECT_EQ(name_of(FindingKind::kBadHandle), "bad-handle");
  EXPECT_EQ(name_of(FindingKind::kBadCall), "bad-call");
  EXPECT_EQ(name_of(FindingKind::kBadStatus), "bad-status");
  EXPECT_EQ(name_of(FindingKind::kUseAfterDetach), "use-after-detach");
  EXPECT_EQ(name_of(FindingKind::kUseAfterFree), "use-after-free");
  EXPECT_EQ(name_of(FindingKind::kDoubleFree), "double-free");
  EXPECT_EQ(name_of(FindingKind::kBufferOverflow), "buffer-overflow");
  EXPECT_EQ(name_of(FindingKind::kNullDereference), "null-dereference");
  EXPECT_EQ(name_of(FindingKind::kWildAccess), "wild-access");
  EXPECT_EQ(name_of(FindingKind::kUninitializedUse), "uninitialized-use");
  EXPECT_EQ(name_of(FindingKind::kMemoryLeak), "memory-leak");
  EXPECT_EQ(name_of(FindingKind::kResourceLeak), "resource-leak");
  EXPECT_EQ(name_of(FindingKind::kIrql), "irql");
  EXPECT_EQ(name_of(FindingKind::kLockMisuse), "lock-misuse");
  EXPECT_EQ(name_of(FindingKind::kDeadlock), "deadlock");
  EXPECT_EQ(name_of(FindingKind::kLivelock), "livelock");
  EXPECT_EQ(name_of(FindingKind::kDataRace), "data-race");
  EXPECT_EQ(name_of(FindingKind::kUndefinedBehavior), "undefined-behavior");
  EXPECT_EQ(name_of(FindingKind::kBugCheck), "bug-check");
  EXPECT_EQ(name_of(FindingKind::kCharacteristicsChanged), "characteristics-changed");
  EXPECT_EQ(name_of(FindingKind::kHarnessFault), "harness-fault");
}

}  // namespace
}  // namespace nmrfuzz::contract
