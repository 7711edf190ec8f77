#include "fuzz/failure_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "fuzz/hunt_fixture.h"
#include "fuzz/scenario_codec.h"
#include "module/module_fixture.h"

namespace nmrfuzz::fuzz {
namespace {

TEST(FailureStatistics, CountsFailuresAloneAndInPairsApart) {
  const FailureSite first{1, 0, 0};
  const FailureSite second{2, 0, 0};
  FailureStatistics statistics;
  statistics.count(std::array{first}, true);
  statistics.count(std::array{first}, false);
  statistics.count(std::array{first, second}, true);
  statistics.count({}, true);
  const std::vector<SiteReport> told = statistics.take({});
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[0].failures, 3U);
  EXPECT_EQ(told[0].findings, 1U);
  EXPECT_EQ(told[0].pair_findings, 1U);
  EXPECT_EQ(told[1].failures, 1U);
  EXPECT_EQ(told[1].findings, 0U);
  EXPECT_EQ(told[1].pair_findings, 1U);
  EXPECT_TRUE(statistics.take({}).empty()) << "told once";
}

// Two registrations: the first one's failure is told from the second one's, wherever they come in the order of calls.
class FailureSites : public ::testing::Test, protected module::ModuleTools {
 protected:
  static constexpr const char* kModule = R"(
#include <ntddk.h>
#include <netioddk.h>
static NPIID Npi[2] = {{1, 1, 1, {1}}, {2, 2, 2, {2}}};
static NPI_MODULEID Id = {sizeof(NPI_MODULEID), MIT_GUID, {{3, 3, 3, {3}}}};
static NTSTATUS NTAPI Attach(HANDLE h, PVOID c, PNPI_REGISTRATION_INSTANCE i, PVOID b, CONST VOID *d, PVOID *p,
                             CONST VOID **t) { return STATUS_NOINTERFACE; }
static NTSTATUS NTAPI Detach(PVOID c) { return STATUS_SUCCESS; }
static NPI_PROVIDER_CHARACTERISTICS Provider[2] = {
    {0, sizeof(NPI_PROVIDER_CHARACTERISTICS), Attach, Detach, NULL,
     {0, sizeof(NPI_REGISTRATION_INSTANCE), &Npi[0], &Id, 0, NULL}},
    {0, sizeof(NPI_PROVIDER_CHARACTERISTICS), Attach, Detach, NULL,
     {0, sizeof(NPI_REGISTRATION_INSTANCE), &Npi[1], &Id, 0, NULL}}};
static HANDLE Handle[2];
static VOID Leave(HANDLE h) {
  if (NmrDeregisterProvider(h) == STATUS_PENDING) NmrWaitForProviderDeregisterComplete(h);
}
static VOID Unload(PDRIVER_OBJECT d) { Leave(Handle[0]); Leave(Handle[1]); }
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
  NTSTATUS status = NmrRegisterProvider(&Provider[0], NULL, &Handle[0]);
  if (!NT_SUCCESS(status)) return status;
  status = NmrRegisterProvider(&Provider[1], NULL, &Handle[1]);
  if (!NT_SUCCESS(status)) { Leave(Handle[0]); return status; }
  d->DriverUnload = Unload;
  return STATUS_SUCCESS;
}
)";
};

TEST_F(FailureSites, AreTheCallsThatWereMadeToFail) {
  Settings settings;
  settings.watch_failures = true;
  Hunted hunted({folder.write("two.c", kModule)}, {}, settings);
  ASSERT_TRUE(hunted.usable());
  Engine& engine = hunted.engine();
  EXPECT_EQ(engine.limits().fallible_calls, 2U);
  schedule::RandomWalk random;
  std::vector<FailureSite> alone;
  for (std::uint16_t call = 1; call <= 2; ++call) {
    Scenario scenario = plain_scenario(engine.shape());
    scenario.faults = {FaultMode::kPlanned, {call, 0}};
    const Execution execution = engine.run(random, 1, scenario);
    EXPECT_FALSE(execution.finding);
    ASSERT_EQ(engine.failure_sites().size(), 1U);
    alone.push_back(engine.failure_sites().front());
    EXPECT_NE(alone.back().address, 0U);
  }
  EXPECT_NE(alone[0], alone[1]);
  Scenario none = plain_scenario(engine.shape());
  none.faults = {FaultMode::kPlanned, {3, 0}};
  engine.run(random, 1, none);
  EXPECT_TRUE(engine.failure_sites().empty());
}

}  // namespace
}  // namespace nmrfuzz::fuzz
