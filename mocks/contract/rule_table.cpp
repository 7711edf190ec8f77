#include "contract/rule_table.h"

#include <algorithm>
#include <array>

namespace nmrfuzz::contract {

namespace {

constexpr std::string_view kUnloadPages = "unloading-a-provider-module, unloading-a-client-module";
constexpr std::string_view kDeregisterPages = "NmrDeregisterProvider, NmrDeregisterClient";
constexpr std::string_view kWaitPages = "NmrWaitForProviderDeregisterComplete, NmrWaitForClientDeregisterComplete";
constexpr std::string_view kRegisterPages = "NmrRegisterProvider, NmrRegisterClient";
constexpr std::string_view kAttachPages = "NmrClientAttachProvider, ClientAttachProvider";
constexpr std::string_view kProviderAttachPages = "ProviderAttachClient";
constexpr std::string_view kDetachPages = "ClientDetachProvider, ProviderDetachClient";
constexpr std::string_view kCompletePages = "NmrClientDetachProviderComplete, NmrProviderDetachClientComplete";
constexpr std::string_view kCleanupPages = "ClientCleanupBindingContext, ProviderCleanupBindingContext";
constexpr std::string_view kCountingPage = "programming-considerations";
constexpr std::string_view kGeneral = "kernel-mode driver documentation";

constexpr auto kRows = std::to_array<RuleRow>({
    {"R5", "NpiId points to the identifier of the NPI.", "NPI_REGISTRATION_INSTANCE", FindingKind::kBadCall, ""},
    {"R9", "The attach and detach callbacks are both set.", "NPI_PROVIDER_CHARACTERISTICS, NPI_CLIENT_CHARACTERISTICS",
     FindingKind::kBadCall, ""},
    {"R11", "The characteristics and what they point to stay allocated until the deregistration is complete.",
     kRegisterPages, FindingKind::kCharacteristicsChanged, ""},
    {"R17", "All other initialisation comes before Register, since attach callbacks may run before it returns.",
     kRegisterPages, FindingKind::kLockMisuse, ""},
    {"R19", "Register is called at PASSIVE_LEVEL.", kRegisterPages, FindingKind::kIrql, ""},
    {"R20", "The handle output of Register is a valid address.", kRegisterPages, FindingKind::kBadCall, ""},
    {"R24", "A DriverEntry that fails deregisters everything that it had registered.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R25", "A DriverEntry that fails waits for those deregistrations before it returns.", kDeregisterPages,
     FindingKind::kUnloadPending, ""},
    {"R26", "A DriverEntry that fails gives back everything else that it had acquired.", kGeneral,
     FindingKind::kMemoryLeak, ""},
    {"R27", "What was never registered is not deregistered.", kDeregisterPages, FindingKind::kBadHandle, ""},
    {"R29", "Structures are registered again only after the wait for their earlier registration.", kUnloadPages,
     FindingKind::kBadCall, ""},
    {"R32", "NmrClientAttachProvider is called only from inside that binding's attach callback.", kAttachPages,
     FindingKind::kBadCall, ""},
    {"R33", "NmrClientAttachProvider is given the binding handle of that very callback.", kAttachPages,
     FindingKind::kBadHandle, ""},
    {"R34", "NmrClientAttachProvider is called at PASSIVE_LEVEL.", kAttachPages, FindingKind::kIrql, ""},
    {"R35", "Both output addresses of NmrClientAttachProvider are valid.", kAttachPages, FindingKind::kBadCall, ""},
    {"R36", "After NmrClientAttachProvider the client's attach callback returns the status that it got.", kAttachPages,
     FindingKind::kBadStatus, ""},
    {"R37", "The client's attach callback returns STATUS_SUCCESS only after a successful NmrClientAttachProvider.",
     kAttachPages, FindingKind::kBadStatus, ""},
    {"R38", "The client's attach callback returns no success code but STATUS_SUCCESS.", kAttachPages,
     FindingKind::kBadStatus, ""},
    {"R39", "The client's attach callback does not fail once NmrClientAttachProvider has succeeded.", kAttachPages,
     FindingKind::kBadStatus, ""},
    {"R43", "After a refusal the client uses nothing of the provider's.", kAttachPages, FindingKind::kUseAfterDetach,
     ""},
    {"R46", "A successful NmrClientAttachProvider is not repeated for the same binding.", kAttachPages,
     FindingKind::kBadCall, ""},
    {"R49", "A provider that accepts a client sets both outputs.", kProviderAttachPages, FindingKind::kBadStatus, ""},
    {"R50", "The provider's attach callback returns no success code but STATUS_SUCCESS.", kProviderAttachPages,
     FindingKind::kBadStatus, ""},
    {"R55", "After it has declined a client the provider uses neither its context nor its dispatch table.",
     kProviderAttachPages, FindingKind::kUseAfterDetach, ""},
    {"R58", "The other side's functions are called only between attach and the end of the own detach.", kDetachPages,
     FindingKind::kUseAfterDetach, ""},
    {"R59", "Each call is counted before it starts and until it has ended.", kCountingPage,
     FindingKind::kUseAfterDetach, ""},
    {"R61", "The test for a detach and the count of a call are one step against the detach callback.", kCountingPage,
     FindingKind::kUseAfterDetach, ""},
    {"R63", "The context that is passed in a call is the one of that binding.",
     "managing-multiple-attached-client-modules, managing-multiple-attached-provider-modules",
     FindingKind::kUseAfterDetach, ""},
    {"R65", "A detach callback returns STATUS_SUCCESS or STATUS_PENDING.", kDetachPages, FindingKind::kBadStatus, ""},
    {"R66", "A detach callback returns STATUS_SUCCESS only if no call of its own side is in progress.", kDetachPages,
     FindingKind::kUseAfterDetach, ""},
    {"R67", "With calls in progress a detach callback returns STATUS_PENDING.", kDetachPages,
     FindingKind::kUseAfterDetach, ""},
    {"R68", "A detach that was left pending is completed.", kCompletePages, FindingKind::kDeadlock, ""},
    {"R69", "A detach is completed once.", kCompletePages, FindingKind::kBadCall, ""},
    {"R70", "A detach whose callback returned STATUS_SUCCESS is not completed.", kCompletePages, FindingKind::kBadCall,
     ""},
    {"R71", "A detach is not completed before the side's last call in progress has ended.", kCompletePages,
     FindingKind::kUseAfterDetach, ""},
    {"R72", "A completion is given the binding handle of its binding.", kCompletePages, FindingKind::kBadHandle, ""},
    {"R73", "Each side completes its detach with its own routine.", kCompletePages, FindingKind::kBadHandle, ""},
    {"R74", "No new call into the other side begins after the own detach callback has been entered.",
     "detaching-a-client-module-from-a-provider-module", FindingKind::kUseAfterDetach,
     "a call that was counted before the detach callback may lawfully be entered after it"},
    {"R78", "Detach callbacks work at DISPATCH_LEVEL.", kDetachPages, FindingKind::kIrql, ""},
    {"R82", "A callback returns at the IRQL that it was entered at, with no lock of its own held.", kGeneral,
     FindingKind::kIrql, ""},
    {"R85", "Cleanup frees a dynamically allocated binding context, once.", kCleanupPages, FindingKind::kMemoryLeak,
     ""},
    {"R86", "Cleanup callbacks work at DISPATCH_LEVEL and do not wait.", kCleanupPages, FindingKind::kIrql, ""},
    {"R87", "Cleanup callbacks make no call into the other side.", kCleanupPages, FindingKind::kUseAfterDetach, ""},
    {"R89", "Unload makes sure that every registration is deregistered before the module leaves memory.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R90", "Unload does not return before each deregistration is complete.", kUnloadPages, FindingKind::kUnloadPending,
     ""},
    {"R91", "After STATUS_PENDING the module waits with the same handle before Unload returns.", kUnloadPages,
     FindingKind::kUnloadPending, ""},
    {"R92", "An error from Deregister is handled: the module does not go on as if it had deregistered.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R93", "A module that provides several NPIs deregisters each of them.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R94", "A module that is provider and client deregisters in both roles.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R95", "Unload waits for all deregistrations.", kUnloadPages, FindingKind::kUnloadPending, ""},
    {"R96", "Deregistering may happen before Unload, for instance when a subcomponent is deactivated.", kUnloadPages,
     FindingKind::kUnloadRegistered, "a permission, not a duty"},
    {"R97", "What was deregistered before Unload is complete when Unload returns.", kUnloadPages,
     FindingKind::kUnloadPending, ""},
    {"R98", "Deregister is called once for each registration.", kDeregisterPages, FindingKind::kBadHandle, ""},
    {"R99", "The wait comes only after its Deregister.", kWaitPages, FindingKind::kBadCall, ""},
    {"R100", "The wait is called below DISPATCH_LEVEL.", kWaitPages, FindingKind::kIrql, ""},
    {"R101", "Provider handles go to provider calls, client handles to client calls.", kWaitPages,
     FindingKind::kBadHandle, ""},
    {"R102", "A handle is not used after its wait has returned.", kWaitPages, FindingKind::kBadHandle, ""},
    {"R104", "No wait is made inside an NMR callback of the same registration or binding.", kWaitPages,
     FindingKind::kDeadlock, ""},
    {"R105", "Deregister and the wait are called with no lock held that the module's callbacks take.", kDeregisterPages,
     FindingKind::kDeadlock, ""},
    {"R108", "All code of the module has returned before Unload returns.", kUnloadPages, FindingKind::kUnloadRunning,
     ""},
    {"R109", "Nothing else of the module is left at unload.", kGeneral, FindingKind::kResourceLeak, ""},
});

}  // namespace

std::span<const RuleRow> rules() { return kRows; }

const RuleRow* find_rule(std::string_view id) {
  const auto* const found = std::find_if(kRows.begin(), kRows.end(), [id](const RuleRow& row) { return row.id == id; });
  return found == kRows.end() ? nullptr : found;
}

}  // namespace nmrfuzz::contract
