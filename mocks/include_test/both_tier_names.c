// both_tier_names.c - each name of the tier that must exist exists: functions by address, macros by definedness.
// flags: -Wall -Wextra -Werror
#include <ntifs.h>
#include <netioddk.h>

#define F(name) (void (*)(void)) name
EXTERN_C void (*const Functions[])(void);
void (*const Functions[])(void) = {
    F(NmrRegisterProvider), F(NmrRegisterClient), F(NmrDeregisterProvider), F(NmrDeregisterClient),
    F(NmrWaitForProviderDeregisterComplete), F(NmrWaitForClientDeregisterComplete), F(NmrClientAttachProvider),
    F(NmrClientDetachProviderComplete), F(NmrProviderDetachClientComplete), F(IoCreateDevice), F(IoDeleteDevice),
    F(IoCreateSymbolicLink), F(IoDeleteSymbolicLink), F(IoAllocateWorkItem), F(IoFreeWorkItem), F(IoQueueWorkItem),
    F(IoQueueWorkItemEx), F(IoInitializeWorkItem), F(IoUninitializeWorkItem), F(IoSizeofWorkItem),
    F(ExInitializeWorkItem), F(ExQueueWorkItem), F(ExAllocatePool2), F(ExAllocatePoolZero),
    F(ExAllocatePoolUninitialized), F(ExAllocatePoolWithTag), F(ExFreePool), F(ExFreePoolWithTag),
    F(MmGetSystemRoutineAddress), F(ExUuidCreate), F(RtlGetVersion), F(ExInitializeDriverRuntime), F(KeGetCurrentIrql),
    F(KeRaiseIrqlToDpcLevel), F(KeLowerIrql), F(KeInitializeSpinLock), F(KeReleaseSpinLock),
    F(KeAcquireSpinLockRaiseToDpc), F(ExTryConvertSharedSpinLockExclusive), F(KeInitializeMutex), F(KeReleaseMutex),
    F(KeDelayExecutionThread), F(PsCreateSystemThread), F(PsTerminateSystemThread), F(ObReferenceObjectByHandle),
    F(ObOpenObjectByPointer), F(ZwClose), F(KeSetTimer), F(KeSetTimerEx), F(KeCancelTimer), F(KeReadStateTimer),
    F(ExAllocateTimer), F(ExSetTimer), F(ExCancelTimer), F(ExDeleteTimer), F(KeInsertQueueDpc), F(KeRemoveQueueDpc),
    F(KeSetTargetProcessorDpc), F(KeSetTargetProcessorDpcEx), F(KeSetImportanceDpc), F(KeInitializeThreadedDpc),
    F(KeFlushQueuedDpcs), F(KeQueryPerformanceCounter), F(KeQueryInterruptTime), F(KeQuerySystemTime),
    F(KeQuerySystemTimePrecise), F(KeQueryTickCount), F(KeQueryUnbiasedInterruptTime), F(KeQueryTimeIncrement),
    F(KeStallExecutionProcessor), F(KeGetCurrentProcessorNumberEx), F(KeQueryMaximumProcessorCountEx),
    F(KeQueryActiveProcessorCountEx), F(KeGetProcessorNumberFromIndex), F(KeSetSystemGroupAffinityThread),
    F(KeRevertToUserGroupAffinityThread), F(KeGetCurrentThread), F(PsGetCurrentThreadId), F(PsGetCurrentProcessId),
    F(ExInitializeRundownProtection), F(ExReInitializeRundownProtection), F(ExRundownCompleted),
    F(ExWaitForRundownProtectionRelease), F(ExAllocateCacheAwareRundownProtection),
    F(ExFreeCacheAwareRundownProtection), F(InitializeSListHead), F(InterlockedPushEntrySList),
    F(InterlockedPopEntrySList), F(InterlockedFlushSList), F(AppendTailList), F(RemoveTailList), F(PushEntryList),
    F(PopEntryList), F(RtlFindMostSignificantBit), F(RtlFreeUnicodeString), F(KeBugCheck), F(KeBugCheckEx), F(DbgPrint),
};
#if !defined(KeRaiseIrql) || !defined(KeAcquireSpinLock) || !defined(ExAcquirePushLockShared) || !defined(PAGED_CODE)
#error "macro forms"
#endif
#if !defined(ObReferenceObject) || !defined(PsGetCurrentThread) || !defined(KeGetCurrentProcessorIndex) || !defined(MemoryBarrier)
#error "macro forms"
#endif
C_ASSERT(STATUS_NOINTERFACE == (NTSTATUS)0xC00002B9 && STATUS_PENDING == 0x103 && NT_SUCCESS(STATUS_TIMEOUT));
C_ASSERT(NonPagedPoolNx == 512 && PagedPool == 1 && IRP_MJ_MAXIMUM_FUNCTION == 27 && DISPATCH_LEVEL == 2);
C_ASSERT(sizeof(KEVENT) == 24 && sizeof(KTIMER) == 64 && sizeof(KDPC) == 64 && sizeof(KMUTEX) == 56);
