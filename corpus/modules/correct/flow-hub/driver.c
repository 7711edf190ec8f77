// nmrfuzz: module
// summary: Hook provider and policy client in several files, with rundown, counted uses, timer, DPC, thread, work items and a control device.
// provides: 1
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

#include "hub.h"

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HubUnload;

HUB_GLOBALS Hub;

// Stops whatever HubStart has started, however far it came.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
HubStop(VOID)
{
    BOOLEAN WaitForHook = FALSE;
    BOOLEAN WaitForPolicy = FALSE;

    // Nothing outside reaches us after this. Both are begun before either is waited for.
    if (Hub.HookRegistered) {
        WaitForHook = HubHookDeregister();
    }
    if (Hub.PolicyRegistered) {
        WaitForPolicy = HubPolicyDeregister();
    }
    if (WaitForHook) {
        HubHookWait();
    }
    if (WaitForPolicy) {
        HubPolicyWait();
    }

    // The sampler ends after the waits, for a visit of its thread may be what a detach waits for. A detach work item
    // may still be on its way out; it holds the device object, and needs nothing else of what follows.
    HubSamplerStop();
    HubControlStop();
    HubRecordsStop();
}

_Must_inspect_result_
static NTSTATUS
HubStart(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    // First what cannot fail, then what can, and last what makes us known: attach callbacks may run at once.
    HubHookInitialize();
    HubPolicyInitialize();

    Status = HubRecordsStart();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = HubControlStart(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = HubSamplerStart();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = HubPolicyRegister();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    return HubHookRegister();
}

_Use_decl_annotations_
static VOID
HubUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    HubStop();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HubUnload;

    Status = HubStart(DriverObject);
    if (!NT_SUCCESS(Status)) {
        HubStop();
    }

    return Status;
}
