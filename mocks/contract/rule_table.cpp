#include "contract/rule_table.h"

#include <algorithm>
#include <array>

#include "contract/winsock_rules.h"

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
constexpr std::string_view kCharacteristicsPages = "NPI_PROVIDER_CHARACTERISTICS, NPI_CLIENT_CHARACTERISTICS";
constexpr std::string_view kGeneral = "kernel-mode driver documentation";

constexpr auto kModuleRules = std::to_array<RuleRow>({
    {"R1", "Version of the characteristics is 0.", kCharacteristicsPages, FindingKind::kBadCall, ""},
    {"R2", "Length of the characteristics is the size of their structure.", kCharacteristicsPages,
     FindingKind::kBadCall, ""},
    {"R3", "Size of the registration instance is the size of that structure.", "NPI_REGISTRATION_INSTANCE",
     FindingKind::kBadCall, "soft: a note, since some NPIs use the field as they like"},
    {"R4", "Version of the registration instance is 0.", "NPI_REGISTRATION_INSTANCE", FindingKind::kBadCall,
     "soft: a note, since real modules put the version of their own protocol there"},
    {"R5", "NpiId points to the identifier of the NPI.", "NPI_REGISTRATION_INSTANCE", FindingKind::kBadCall, ""},
    {"R6", "ModuleId points to a well formed identifier of the module.", "NPI_REGISTRATION_INSTANCE",
     FindingKind::kBadCall, ""},
    {"R7", "Number tells apart the registrations of one NPI by one module.", "NPI_REGISTRATION_INSTANCE",
     FindingKind::kBadCall, "soft: a note; nothing but the modules themselves reads the number"},
    {"R8", "NpiSpecificCharacteristics points to what the NPI defines, or is NULL.", "NPI_REGISTRATION_INSTANCE",
     FindingKind::kNullDereference,
     "what an NPI defines is unknown; shows as null-dereference or wild-access where the other side reads it"},
    {"R9", "The attach and detach callbacks are both functions of the module.", kCharacteristicsPages,
     FindingKind::kBadCall, ""},
    {"R10", "A cleanup callback is a function of the module, or NULL.", kCharacteristicsPages, FindingKind::kBadCall,
     ""},
    {"R11", "The characteristics stay allocated until the deregistration is complete.", kRegisterPages,
     FindingKind::kCharacteristicsChanged, ""},
    {"R12", "What the characteristics point to stays allocated as long as they do.", "NPI_REGISTRATION_INSTANCE",
     FindingKind::kCharacteristicsChanged, ""},
    {"R13", "Nothing of what was handed to Register changes while it is registered.", "NPI_REGISTRATION_INSTANCE",
     FindingKind::kCharacteristicsChanged, ""},
    {"R14", "The registration context lives as long as the registration.", kRegisterPages, FindingKind::kUseAfterFree,
     "by consequence: use-after-free in an attach callback"},
    {"R15", "What is handed to Register can be read at DISPATCH_LEVEL.", kRegisterPages, FindingKind::kIrql,
     "the registrar reads it at PASSIVE_LEVEL only; where the module itself reads it in paged pool, irql"},
    {"R16", "Each NPI and each role has structures of its own.", "initializing-and-registering-a-provider-module",
     FindingKind::kBadCall, "soft: a note, since Windows takes one set twice"},
    {"R17", "All other initialisation comes before Register, since attach callbacks may run before it returns.",
     kRegisterPages, FindingKind::kLockMisuse, ""},
    {"R18", "A driver that is to be unloaded sets DriverUnload before anything can fail.",
     "initializing-and-registering-a-provider-module", FindingKind::kUnloadRegistered,
     "a driver without it is never unloaded, which is allowed"},
    {"R19", "Register is called at PASSIVE_LEVEL.", kRegisterPages, FindingKind::kIrql, ""},
    {"R20", "The handle output of Register is a valid address.", kRegisterPages, FindingKind::kBadCall, ""},
    {"R21", "A module whose Register failed goes on as one without that registration.", kRegisterPages,
     FindingKind::kBadHandle, ""},
    {"R22", "After a failed Register nothing is concluded from the handle variable.", kRegisterPages,
     FindingKind::kBadHandle, ""},
    {"R23", "An attach callback does not rely on the registration handle being stored already.", kRegisterPages,
     FindingKind::kBadHandle, "by consequence: bad-handle (R27, R98 or R101) in worlds that store it late"},
    {"R24", "A DriverEntry that fails deregisters everything that it had registered.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R25", "A DriverEntry that fails waits for those deregistrations before it returns.", kDeregisterPages,
     FindingKind::kUnloadPending, ""},
    {"R26", "A DriverEntry that fails gives back everything else that it had acquired.", kGeneral,
     FindingKind::kMemoryLeak, ""},
    {"R27", "What was never registered is not deregistered.", kDeregisterPages, FindingKind::kBadHandle, ""},
    {"R28", "A handle is not overwritten by another Register while its registration lives.", kRegisterPages,
     FindingKind::kUnloadRegistered, ""},
    {"R29", "Structures are registered again only after the wait for their earlier registration.", kUnloadPages,
     FindingKind::kBadCall, ""},
    {"R30", "No registration is begun and left behind once Unload has been entered.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R31", "A client that declines returns STATUS_NOINTERFACE.", kAttachPages, FindingKind::kBadStatus,
     "soft: a note, since real modules decline with other errors"},
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
    {"R40", "A binding context is complete before NmrClientAttachProvider hands it out.", kAttachPages,
     FindingKind::kUninitializedUse,
     "by consequence: lock-misuse or null-dereference in a function that the peer calls, bad-call in a callback"},
    {"R41", "The client dispatch table stays allocated while the provider is attached.", "NmrClientAttachProvider",
     FindingKind::kCharacteristicsChanged, ""},
    {"R42", "After a refusal the client frees its binding context itself.", kAttachPages, FindingKind::kMemoryLeak, ""},
    {"R43", "After a refusal the client uses nothing of the provider's.", kAttachPages, FindingKind::kUseAfterDetach,
     ""},
    {"R44", "The client keeps handle, context and dispatch of each binding apart.", kAttachPages,
     FindingKind::kBadHandle, ""},
    {"R45", "A client for one provider at a time declines further ones.", "managing-multiple-attached-provider-modules",
     FindingKind::kBadHandle, ""},
    {"R46", "A successful NmrClientAttachProvider is not repeated for the same binding.", kAttachPages,
     FindingKind::kBadCall, ""},
    {"R47", "The client does not write to the provider's registration instance, nor keep it.",
     "NPI_REGISTRATION_INSTANCE", FindingKind::kCharacteristicsChanged,
     "a write shows as R13 of the other module if that is under test as well; the memory of a peer is not watched"},
    {"R48", "A provider that declines returns STATUS_NOINTERFACE and keeps nothing.", kProviderAttachPages,
     FindingKind::kBadStatus, "the status is soft: a note; what is kept shows as memory-leak"},
    {"R49", "A provider that accepts a client sets both outputs.", kProviderAttachPages, FindingKind::kBadStatus, ""},
    {"R50", "The provider's attach callback returns no success code but STATUS_SUCCESS.", kProviderAttachPages,
     FindingKind::kBadStatus, ""},
    {"R51", "The provider stores what it was given before other threads can reach the binding.", kProviderAttachPages,
     FindingKind::kNullDereference,
     "by consequence: null-dereference, bad-handle or use-after-free on the other thread"},
    {"R52", "Each attached client has state of its own.", "managing-multiple-attached-client-modules",
     FindingKind::kBadHandle,
     "by consequence: bad-handle, bad-call, use-after-free or memory-leak when one of two clients leaves"},
    {"R53", "The provider dispatch table stays allocated while the client is attached.", kProviderAttachPages,
     FindingKind::kCharacteristicsChanged, ""},
    {"R54", "A provider can be called through its table when its attach callback returns.", kProviderAttachPages,
     FindingKind::kUninitializedUse,
     "by consequence: lock-misuse or null-dereference in the function; peers call none of a table whose NPI they do "
     "not know"},
    {"R55", "After it has declined a client the provider uses neither its context nor its dispatch table.",
     kProviderAttachPages, FindingKind::kUseAfterDetach, ""},
    {"R56", "The provider judges the client's instance, not its own, and checks pointers that may be NULL.",
     kProviderAttachPages, FindingKind::kNullDereference, ""},
    {"R57", "Attach callbacks do not wait for what only a later callback or the end of Register brings.", kAttachPages,
     FindingKind::kDeadlock, ""},
    {"R58", "The other side's functions are called only between attach and the end of the own detach.", kDetachPages,
     FindingKind::kUseAfterDetach, ""},
    {"R59", "Each call is counted before it starts and until it has ended.", kCountingPage,
     FindingKind::kUseAfterDetach, "by consequence: use-after-detach, R58, R66 or R71"},
    {"R60", "A call that was left pending stays counted until its completion has run.", kCountingPage,
     FindingKind::kUseAfterDetach,
     "by consequence: use-after-free in the completion, use-after-detach (R71); the peers' functions leave no call "
     "pending"},
    {"R61", "The test for a detach and the count of a call are one step against the detach callback.", kCountingPage,
     FindingKind::kUseAfterDetach, ""},
    {"R62", "The other side's context is handed back, never read or freed.",
     "NmrClientAttachProvider, ProviderAttachClient", FindingKind::kWildAccess,
     "by consequence: the contexts of peers are numbers outside any memory, so wild-access"},
    {"R63", "The context that is passed in a call is the one of that binding.",
     "managing-multiple-attached-client-modules, managing-multiple-attached-provider-modules",
     FindingKind::kUseAfterDetach, ""},
    {"R64", "Calls are made at a level that the NPI allows, with no lock that a call back needs.",
     "network-programming-interface", FindingKind::kDeadlock,
     "what an NPI allows is unknown; a lock taken again shows as deadlock"},
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
    {"R75", "After its completion a module does not touch its binding context.", kCompletePages,
     FindingKind::kUseAfterFree, ""},
    {"R76", "A detach callback does not touch the context that it has given to another thread to complete.",
     kDetachPages, FindingKind::kUseAfterFree,
     "by consequence: use-after-free where the completion overtakes the callback"},
    {"R77", "Of returning STATUS_SUCCESS and completing, exactly one happens.", kCountingPage, FindingKind::kDeadlock,
     ""},
    {"R78", "Detach callbacks work at DISPATCH_LEVEL.", kDetachPages, FindingKind::kIrql, ""},
    {"R79", "A detach callback does not wait for its calls to end.", kDetachPages, FindingKind::kDeadlock, ""},
    {"R80", "The detach callback leaves the binding context to cleanup.", kCleanupPages, FindingKind::kUseAfterFree,
     ""},
    {"R81", "No order of detach callbacks and no particular thread is assumed.", "network-module-detachment",
     FindingKind::kUseAfterFree, "by consequence: whatever goes wrong in one world and not in another"},
    {"R82", "A callback returns at the IRQL that it was entered at, with no lock of its own held.", kGeneral,
     FindingKind::kIrql, ""},
    {"R83", "A completion is made without a lock that a cleanup callback or the waiter needs.", kCompletePages,
     FindingKind::kDeadlock,
     "by consequence: a deadlock that names it, or lock-misuse, in worlds where the completion runs the cleanup"},
    {"R84", "Until the other side is detached, its calls are still served.", "network-module-detachment",
     FindingKind::kUseAfterFree, "by consequence: use-after-free or null-dereference in the function that is called"},
    {"R85", "Cleanup frees a dynamically allocated binding context, once.", kCleanupPages, FindingKind::kMemoryLeak,
     ""},
    {"R86", "Cleanup callbacks work at DISPATCH_LEVEL and do not wait.", kCleanupPages, FindingKind::kIrql, ""},
    {"R87", "Cleanup callbacks make no call into the other side.", kCleanupPages, FindingKind::kUseAfterDetach, ""},
    {"R88", "What reaches a binding context is gone before cleanup frees it.", kCleanupPages,
     FindingKind::kUseAfterFree, ""},
    {"R89", "Unload makes sure that every registration is deregistered before the module leaves memory.", kUnloadPages,
     FindingKind::kUnloadRegistered, ""},
    {"R90", "Unload does not return before each deregistration is complete.", kUnloadPages, FindingKind::kUnloadPending,
     ""},
    {"R91", "After STATUS_PENDING the module waits with the same handle before Unload returns.", kUnloadPages,
     FindingKind::kUnloadPending, ""},
    {"R92", "An error from Deregister is handled: the module does not go on as if it had deregistered.", kUnloadPages,
     FindingKind::kUnloadRegistered,
     "only in world dereg_error=inject_once, which is unproven on Windows: unload-registered, or bad-call at the wait"},
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
    {"R103", "What callbacks use lives until the wait has returned, not only until Deregister has.", kDeregisterPages,
     FindingKind::kCharacteristicsChanged, ""},
    {"R104", "No wait is made inside an NMR callback of the same registration or binding.", kWaitPages,
     FindingKind::kDeadlock, ""},
    {"R105", "Deregister and the wait are called with no lock held that the module's callbacks take.", kDeregisterPages,
     FindingKind::kDeadlock, ""},
    {"R106", "The thread that waits is not one that a pending detach needs.", kWaitPages, FindingKind::kDeadlock,
     "by consequence: deadlock, R68; which thread would have completed cannot be known"},
    {"R107", "A registration is not waited for before another one, whose detach the first needs, is deregistered.",
     kUnloadPages, FindingKind::kDeadlock, ""},
    {"R108", "All code of the module has returned before Unload returns.", kUnloadPages, FindingKind::kUnloadRunning,
     ""},
    {"R109", "Nothing else of the module is left at unload.", kGeneral, FindingKind::kResourceLeak, ""},
    {"R110", "Nothing is expected of a completion that names no binding.", kCompletePages, FindingKind::kBadHandle,
     "a completion has no result; the handle shows as bad-handle, R69 or R72"},
    {"R111", "A framework driver keeps the same rules in EvtDriverUnload.", kDeregisterPages,
     FindingKind::kUnloadRegistered,
     "the driver framework is not played; its callbacks would show as DriverUnload does"},
});

// Both tables as one.
constexpr auto kRows = [] {
  std::array<RuleRow, kModuleRules.size() + kWinsockRules.size()> all{};
  std::copy(kWinsockRules.begin(), kWinsockRules.end(),
            std::copy(kModuleRules.begin(), kModuleRules.end(), all.begin()));
  return all;
}();

// What is worth a note where the documentation is silent.
struct SilentPoint {
  std::string_view id;
  std::string_view sentence;
};
constexpr SilentPoint kSilentPoints[] = {
    {"A1", "A registration that Deregister itself had ended was waited for."},
    {"A4", "A detach callback waited; it may be called at DISPATCH_LEVEL."},
    {"A6", "A registration was deregistered inside one of its own attach callbacks."},
    {"A8", "A detach was completed before its callback was called."},
    {"A13", "A registration was begun or ended inside a callback of NMR."},
    {"A16", "A deregistration was waited for twice."},
};

}  // namespace

std::span<const RuleRow> rules() { return kRows; }

const RuleRow* find_rule(std::string_view id) {
  const auto* const found = std::find_if(kRows.begin(), kRows.end(), [id](const RuleRow& row) { return row.id == id; });
  return found == kRows.end() ? nullptr : found;
}

std::string_view sentence_of_rule(std::string_view id) {
  for (const SilentPoint& point : kSilentPoints) {
    if (point.id == id) {
      return point.sentence;
    }
  }
  const RuleRow* const row = find_rule(id);
  return row != nullptr ? row->sentence : "";
}

}  // namespace nmrfuzz::contract
