#include "contract/characteristics.h"

#include <ostream>

#include "contract/contract_fixture.h"
#include "kernel/object.h"

namespace nmrfuzz::contract {
namespace {

using kernel::Routine;
using trace::Outcome;
using Kind = Stream::Kind;

struct FieldCase {
  Outcome outcome;
  std::string_view rule;
  bool noted = false;
};
void PrintTo(const FieldCase& each, std::ostream* out) { *out << each.rule << (each.noted ? " note" : ""); }

class Fields : public testing::TestWithParam<FieldCase> {};

TEST_P(Fields, AreFindingsOrNotes) {
  Stream stream;
  stream.breach(Routine::NmrRegisterClient, GetParam().outcome, 1);
  EXPECT_EQ(stream.findings().size(), GetParam().noted ? 0U : 1U);
  EXPECT_EQ(stream.notes().size(), GetParam().noted ? 1U : 0U);
  const Finding& made = GetParam().noted ? stream.notes().at(0) : stream.findings().at(0);
  EXPECT_EQ(made.rule, GetParam().rule);
  EXPECT_EQ(made.kind, FindingKind::kBadCall);
  EXPECT_EQ(made.hash, stream.hash());
}

INSTANTIATE_TEST_SUITE_P(
    Register, Fields,
    testing::Values(FieldCase{Outcome::kWrongVersion, "R1"}, FieldCase{Outcome::kWrongLength, "R2"},
                    FieldCase{Outcome::kWrongInstanceSize, "R3", true},
                    FieldCase{Outcome::kWrongInstanceVersion, "R4", true}, FieldCase{Outcome::kMissingNpiId, "R5"},
                    FieldCase{Outcome::kWrongModuleId, "R6"}, FieldCase{Outcome::kMissingModuleId, "R6", true},
                    FieldCase{Outcome::kSameNumber, "R7", true}, FieldCase{Outcome::kMissingCallback, "R9"},
                    FieldCase{Outcome::kForeignCallback, "R9"}, FieldCase{Outcome::kForeignCleanup, "R10"},
                    FieldCase{Outcome::kCharacteristicsShared, "R16", true},
                    FieldCase{Outcome::kCharacteristicsReused, "R29"}));

void free_registered(Stream& s, std::uint8_t part) {
  s.write({.kind = Kind::kBreach,
           .routine = Stream::of(Routine::ExFreePool),
           .outcome = part >= kernel::kHeldClientDispatch ? Outcome::kDispatchFreed : Outcome::kCharacteristicsFreed,
           .module = 1,
           .object = 7,
           .a = 1,
           .b = part});
}

constexpr Verdict changed(std::string_view rule) { return {FindingKind::kCharacteristicsChanged, rule}; }

TEST(CharacteristicsTest, FreedOrChangedWhileInUse) {
  constexpr StreamCase kCases[] = {
      {"the structure is freed", changed("R11"),
       [](Stream& s) {
         s.register_one(1);
         free_registered(s, kernel::kHeldStructure);
       }},
      {"the NPI identifier is freed", changed("R12"),
       [](Stream& s) {
         s.register_one(1);
         free_registered(s, kernel::kHeldNpiId);
       }},
      {"the module identifier is freed", changed("R12"),
       [](Stream& s) {
         s.register_one(1);
         free_registered(s, kernel::kHeldModuleId);
       }},
      {"the structure is freed when the deregistration has begun", changed("R103"),
       [](Stream& s) {
         s.register_one(1);
         s.deregister(1);
         free_registered(s, kernel::kHeldStructure);
       }},
      {"another registration's deregistration has begun", changed("R11"),
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.deregister(2);
         free_registered(s, kernel::kHeldStructure);
       }},
      {"the content changes", changed("R13"),
       [](Stream& s) {
         s.register_one(1);
         s.breach(Routine::NmrRegisterProvider, Outcome::kCharacteristicsChanged, 1);
       }},
      {"a client's table is freed", changed("R41"), [](Stream& s) { free_registered(s, kernel::kHeldClientDispatch); }},
      {"a provider's table is freed", changed("R53"),
       [](Stream& s) { free_registered(s, kernel::kHeldProviderDispatch); }},
      {"a handle is stored over another, which alone is nothing", kRight,
       [](Stream& s) {
         s.register_one(1);
         s.register_one(2);
         s.breach(Routine::NmrRegisterProvider, Outcome::kHandleOverwritten, 1);
       }},
  };
  expect_verdicts(kCases);
}

TEST(CharacteristicsTest, TheCauseOfAChangeIsTheRegistration) {
  Stream stream;
  stream.register_one(1);
  const std::uint64_t registered = stream.register_one(2);
  stream.register_one(3);
  stream.breach(Routine::NmrRegisterProvider, Outcome::kCharacteristicsChanged, 2);
  ASSERT_EQ(stream.findings().size(), 1U);
  EXPECT_EQ(stream.findings()[0].cause_number, registered);
}

}  // namespace
}  // namespace nmrfuzz::contract
