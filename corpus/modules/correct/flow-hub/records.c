// records.c - a bounded queue of records from a lookaside list. See hub.h.

#include "hub.h"

_Use_decl_annotations_
NTSTATUS
HubRecordsStart(VOID)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&Hub.RecordLock);
    InitializeListHead(&Hub.Records);

    Status = ExInitializeLookasideListEx(
        &Hub.RecordLookaside, NULL, NULL, NonPagedPoolNx, 0, sizeof(HUB_RECORD), HUB_RECORD_TAG, 0);
    Hub.LookasideReady = NT_SUCCESS(Status);
    return Status;
}

VOID
HubRecordsStop(VOID)
{
    if (!Hub.LookasideReady) {
        return;
    }

    // Nobody adds any more.
    while (!IsListEmpty(&Hub.Records)) {
        PHUB_RECORD Record = CONTAINING_RECORD(RemoveHeadList(&Hub.Records), HUB_RECORD, Link);

        ExFreeToLookasideListEx(&Hub.RecordLookaside, Record);
    }

    ExDeleteLookasideListEx(&Hub.RecordLookaside);
    Hub.LookasideReady = FALSE;
}

_Use_decl_annotations_
VOID
HubRecordsAdd(const HUB_RECORD_DATA *Data)
{
    PHUB_RECORD Oldest = NULL;
    PHUB_RECORD Record;
    KIRQL OldIrql;

    Record = (PHUB_RECORD)ExAllocateFromLookasideListEx(&Hub.RecordLookaside);
    if (Record == NULL) {
        return;
    }
    Record->Data = *Data;

    KeAcquireSpinLock(&Hub.RecordLock, &OldIrql);
    if (Hub.RecordCount == HUB_MAX_RECORDS) {
        Oldest = CONTAINING_RECORD(RemoveHeadList(&Hub.Records), HUB_RECORD, Link);
    } else {
        Hub.RecordCount++;
    }
    InsertTailList(&Hub.Records, &Record->Link);
    KeReleaseSpinLock(&Hub.RecordLock, OldIrql);

    if (Oldest != NULL) {
        ExFreeToLookasideListEx(&Hub.RecordLookaside, Oldest);
    }
}
