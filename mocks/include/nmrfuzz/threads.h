// threads.h - system threads, object references, handles, delays, identities, clocks, processors.
// Sources: documentation pages "PsCreateSystemThread", "PsTerminateSystemThread", "ObReferenceObjectByHandle",
// "ObfReferenceObject", "ObDereferenceObject", "ZwClose", "KeDelayExecutionThread", "KeQueryPerformanceCounter",
// "KeQueryInterruptTime", "KeQuerySystemTime", "KeGetCurrentProcessorNumberEx", "KeQueryActiveProcessorCountEx".
#ifndef NMRFUZZ_THREADS_H
#define NMRFUZZ_THREADS_H

#include "nmrfuzz/dispatcher.h"
#include "nmrfuzz/string.h"

NMRFUZZ_BEGIN_C

typedef void NTAPI KSTART_ROUTINE(PVOID StartContext);
typedef KSTART_ROUTINE *PKSTART_ROUTINE;

typedef struct _OBJECT_HANDLE_INFORMATION {
    ULONG HandleAttributes;
    ACCESS_MASK GrantedAccess;
} OBJECT_HANDLE_INFORMATION, *POBJECT_HANDLE_INFORMATION;

// PASSIVE_LEVEL.
NTSTATUS PsCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
                              HANDLE ProcessHandle, PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine,
                              PVOID StartContext);
NTSTATUS PsTerminateSystemThread(NTSTATUS ExitStatus);
NTSTATUS ZwClose(HANDLE Handle);

// By handle and by pointer: PASSIVE_LEVEL. Reference, dereference: <= DISPATCH_LEVEL (the last dereference:
// PASSIVE_LEVEL, else the deferring form).
extern POBJECT_TYPE *PsThreadType;
extern POBJECT_TYPE *PsProcessType;
extern POBJECT_TYPE *ExEventObjectType;
NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                   KPROCESSOR_MODE AccessMode, PVOID *Object,
                                   POBJECT_HANDLE_INFORMATION HandleInformation);
NTSTATUS ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                    KPROCESSOR_MODE AccessMode);
NTSTATUS ObOpenObjectByPointer(PVOID Object, ULONG HandleAttributes, PVOID PassedAccessState, ACCESS_MASK DesiredAccess,
                               POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode, PHANDLE Handle);
LONG_PTR ObfReferenceObject(PVOID Object);
LONG_PTR ObfDereferenceObject(PVOID Object);
void ObDereferenceObjectDeferDelete(PVOID Object);
#define ObReferenceObject(object) ObfReferenceObject(object)
#define ObDereferenceObject(object) ObfDereferenceObject(object)

// <= APC_LEVEL.
NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable, PLARGE_INTEGER Interval);
// Any IRQL.
void KeStallExecutionProcessor(ULONG MicroSeconds);

// Identities. Any IRQL.
PKTHREAD KeGetCurrentThread(void);
PEPROCESS IoGetCurrentProcess(void);
HANDLE PsGetCurrentThreadId(void);
HANDLE PsGetCurrentProcessId(void);
#define PsGetCurrentThread() ((PETHREAD)KeGetCurrentThread())
#define PsGetCurrentProcess() IoGetCurrentProcess()
#define ZwCurrentProcess() ((HANDLE)(LONG_PTR)-1)
#define NtCurrentProcess() ZwCurrentProcess()
#define ZwCurrentThread() ((HANDLE)(LONG_PTR)-2)
#define NtCurrentThread() ZwCurrentThread()

// The virtual clock, in units of 100 ns. Any IRQL.
LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency);
ULONGLONG KeQueryInterruptTime(void);
ULONGLONG KeQueryUnbiasedInterruptTime(void);
void KeQuerySystemTime(PLARGE_INTEGER CurrentTime);
void KeQuerySystemTimePrecise(PLARGE_INTEGER CurrentTime);
void KeQueryTickCount(PLARGE_INTEGER CurrentCount);
ULONG KeQueryTimeIncrement(void);

// Processors. Any IRQL; the affinity pair <= DISPATCH_LEVEL.
#define ALL_PROCESSOR_GROUPS 0xffff
#define MAXIMUM_PROC_PER_GROUP 64
ULONG KeGetCurrentProcessorNumber(void);
ULONG KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER ProcNumber);
ULONG KeQueryMaximumProcessorCount(void);
ULONG KeQueryMaximumProcessorCountEx(USHORT GroupNumber);
ULONG KeQueryActiveProcessorCount(PKAFFINITY ActiveProcessors);
ULONG KeQueryActiveProcessorCountEx(USHORT GroupNumber);
NTSTATUS KeGetProcessorNumberFromIndex(ULONG ProcIndex, PPROCESSOR_NUMBER ProcNumber);
ULONG KeGetProcessorIndexFromNumber(PPROCESSOR_NUMBER ProcNumber);
void KeSetSystemGroupAffinityThread(PGROUP_AFFINITY Affinity, PGROUP_AFFINITY PreviousAffinity);
void KeRevertToUserGroupAffinityThread(PGROUP_AFFINITY PreviousAffinity);
#define KeGetCurrentProcessorIndex() KeGetCurrentProcessorNumberEx(NULL)

NMRFUZZ_END_C

#endif
