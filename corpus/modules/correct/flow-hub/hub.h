// hub.h - what the parts of the flow hub share.
//
//   driver.c   entry, unload and the order in which the parts start and stop
//   hook.c     provider of the hook NPI: its clients report flows to us
//   policy.c   client of the policy NPI: its providers tell what to do with flows
//   sampler.c  timer, DPC and thread that visit hooks and policies
//   records.c  the records that visits leave behind, the newest of them
//   control.c  control device and its symbolic link
//
// Locks: three spin locks, never two at once, and none held across a call of NMR.
//   Hub.HookLock    Hub.Hooks, HUB_HOOK.VisitOwed
//   Hub.PolicyLock  Hub.Policies, Hub.PolicyCount, the counted uses of a HUB_POLICY
//   Hub.RecordLock  Hub.Records, Hub.RecordCount

#pragma once

#include <ntddk.h>
#include <netioddk.h>

#define HUB_POOL_TAG 'buHF'
#define HUB_RECORD_TAG 'crHF'

#define HUB_SAMPLE_PERIOD_MS 5000
#define HUB_MAX_RECORDS 64
#define HUB_MAX_POLICIES 4

// What a visit found. The newest HUB_MAX_RECORDS are kept, for a debugger to list.
typedef struct _HUB_RECORD_DATA {
    ULONGLONG Time;
    LONG64 Bytes;
    ULONG HookId;
    ULONG PolicyCount;
} HUB_RECORD_DATA, *PHUB_RECORD_DATA;

typedef struct _HUB_RECORD {
    LIST_ENTRY Link;
    HUB_RECORD_DATA Data;
} HUB_RECORD, *PHUB_RECORD;

// A client of the hook NPI. Rundown protection is held by each visit; the detach waits for it in a work item.
typedef struct _HUB_HOOK {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    EX_RUNDOWN_REF Rundown;
    ULONG Id;
    BOOLEAN VisitOwed;
    LONG64 Bytes;
} HUB_HOOK, *PHUB_HOOK;

// A provider of the policy NPI. The last counted use completes a pending detach.
typedef struct _HUB_POLICY {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    BOOLEAN VisitOwed;
    BOOLEAN Detaching;
    ULONG Ticks;
    LONG64 Visits;
} HUB_POLICY, *PHUB_POLICY;

typedef struct _HUB_GLOBALS {
    // driver.c and the Start and Stop functions only: single-threaded.
    PDEVICE_OBJECT ControlDevice;
    PKTHREAD SamplerThread;
    HANDLE HookHandle;
    HANDLE PolicyHandle;
    BOOLEAN LookasideReady;
    BOOLEAN LinkCreated;
    BOOLEAN TimerSet;
    BOOLEAN HookRegistered;
    BOOLEAN PolicyRegistered;

    KSPIN_LOCK HookLock;
    LIST_ENTRY Hooks;
    LONG LastHookId;

    KSPIN_LOCK PolicyLock;
    LIST_ENTRY Policies;
    ULONG PolicyCount; // Attached or about to be.

    KSPIN_LOCK RecordLock;
    LIST_ENTRY Records;
    ULONG RecordCount;
    LOOKASIDE_LIST_EX RecordLookaside;

    KTIMER Timer;
    KDPC TimerDpc;
    KEVENT SamplerWake;
    KEVENT SamplerStop;
} HUB_GLOBALS;

extern HUB_GLOBALS Hub;

// hook.c
VOID HubHookInitialize(VOID);

_IRQL_requires_(PASSIVE_LEVEL)
_Must_inspect_result_
NTSTATUS HubHookRegister(VOID);

// Begins the deregistration; TRUE if HubHookWait has to be called.
_Must_inspect_result_
BOOLEAN HubHookDeregister(VOID);

_IRQL_requires_(PASSIVE_LEVEL)
VOID HubHookWait(VOID);

// Marks every hook as due for a visit.
_IRQL_requires_(DISPATCH_LEVEL)
VOID HubHookTickAtDpcLevel(VOID);

// A hook that is due, protected until HubHookEndVisit; NULL if there is none.
_Must_inspect_result_
_IRQL_requires_max_(DISPATCH_LEVEL)
PHUB_HOOK HubHookBeginVisit(VOID);

_IRQL_requires_max_(DISPATCH_LEVEL)
VOID HubHookEndVisit(_In_ PHUB_HOOK Hook);

// policy.c: as hook.c
VOID HubPolicyInitialize(VOID);

_IRQL_requires_(PASSIVE_LEVEL)
_Must_inspect_result_
NTSTATUS HubPolicyRegister(VOID);

_Must_inspect_result_
BOOLEAN HubPolicyDeregister(VOID);

_IRQL_requires_(PASSIVE_LEVEL)
VOID HubPolicyWait(VOID);

_IRQL_requires_(DISPATCH_LEVEL)
VOID HubPolicyTickAtDpcLevel(VOID);

_Must_inspect_result_
_IRQL_requires_max_(DISPATCH_LEVEL)
PHUB_POLICY HubPolicyBeginUse(VOID);

_IRQL_requires_max_(DISPATCH_LEVEL)
VOID HubPolicyEndUse(_In_ PHUB_POLICY Policy);

_IRQL_requires_max_(DISPATCH_LEVEL)
ULONG HubPolicyCount(VOID);

// sampler.c
_IRQL_requires_(PASSIVE_LEVEL)
_Must_inspect_result_
NTSTATUS HubSamplerStart(VOID);

_IRQL_requires_(PASSIVE_LEVEL)
VOID HubSamplerStop(VOID);

_IRQL_requires_max_(DISPATCH_LEVEL)
VOID HubSamplerWake(VOID);

// records.c
_Must_inspect_result_
NTSTATUS HubRecordsStart(VOID);

VOID HubRecordsStop(VOID);

// Adds a record; the oldest one goes if there are too many. Without memory the record is lost.
_IRQL_requires_max_(DISPATCH_LEVEL)
VOID HubRecordsAdd(_In_ const HUB_RECORD_DATA *Data);

// control.c
_IRQL_requires_(PASSIVE_LEVEL)
_Must_inspect_result_
NTSTATUS HubControlStart(_In_ PDRIVER_OBJECT DriverObject);

_IRQL_requires_(PASSIVE_LEVEL)
VOID HubControlStop(VOID);
