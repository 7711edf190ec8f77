#include "contract/data_race.h"

#include "contract/contract_fixture.h"

namespace nmrfuzz::contract {
namespace {

using Kind = Stream::Kind;
using trace::Outcome;

TEST(DataRaceTest, UnorderedAccessesAreAFindingAndTheToleratedOnesANote) {
  Stream stream;
  stream.write({.kind = Kind::kAccess});
  EXPECT_TRUE(stream.findings().empty());
  stream.write({.kind = Kind::kAccess, .outcome = Outcome::kUnorderedRead});
  EXPECT_TRUE(stream.findings().empty());
  stream.write({.kind = Kind::kAccess, .outcome = Outcome::kUnordered, .b = 7});
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].kind, FindingKind::kDataRace);
  EXPECT_EQ(stream.findings()[0].event.b, 7U);
}

}  // namespace
}  // namespace nmrfuzz::contract
