// slist.h - sequenced singly linked lists. IRQL <= DISPATCH_LEVEL; the list is its own lock.
// Sources: documentation pages "ExInitializeSListHead", "InterlockedPushEntrySList", "ExInterlockedPopEntrySList",
// "ExInterlockedFlushSList", "ExQueryDepthSList". Head and entries are 16-byte aligned.
#ifndef NMRFUZZ_SLIST_H
#define NMRFUZZ_SLIST_H

#include "nmrfuzz/types.h"

NMRFUZZ_BEGIN_C

typedef struct DECLSPEC_ALIGN(16) _SLIST_ENTRY {
    struct _SLIST_ENTRY *Next;
} SLIST_ENTRY, *PSLIST_ENTRY;

typedef union DECLSPEC_ALIGN(16) _SLIST_HEADER {
    struct {
        ULONGLONG Alignment;
        ULONGLONG Region;
    };
    struct {
        struct _SLIST_ENTRY *First;
        ULONG Depth;
        ULONG ObjectNumber; // the simulated kernel's
    } State;
} SLIST_HEADER, *PSLIST_HEADER;

NMRFUZZ_STATIC_ASSERT(sizeof(SLIST_ENTRY) == 16 && sizeof(SLIST_HEADER) == 16, "layout");

void InitializeSListHead(PSLIST_HEADER SListHead);
PSLIST_ENTRY InterlockedPushEntrySList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry);
PSLIST_ENTRY InterlockedPopEntrySList(PSLIST_HEADER ListHead);
PSLIST_ENTRY InterlockedFlushSList(PSLIST_HEADER ListHead);
USHORT ExQueryDepthSList(PSLIST_HEADER SListHead);

#define ExInitializeSListHead(head) InitializeSListHead(head)
#define ExInterlockedPushEntrySList(head, entry, lock) InterlockedPushEntrySList(head, entry)
#define ExInterlockedPopEntrySList(head, lock) InterlockedPopEntrySList(head)
#define ExInterlockedFlushSList(head) InterlockedFlushSList(head)
#define QueryDepthSList(head) ExQueryDepthSList(head)

NMRFUZZ_END_C

#endif
