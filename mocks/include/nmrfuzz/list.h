// list.h - doubly and singly linked lists. Any IRQL; the caller locks.
// Sources: documentation pages "Singly and Doubly Linked Lists", "RemoveEntryList", "AppendTailList".
// A broken link fails fast, as the real ones do. Removed entries keep their stale links: code that walks on from one is
// a bug to find.
#ifndef NMRFUZZ_LIST_H
#define NMRFUZZ_LIST_H

#include "nmrfuzz/debug.h"

NMRFUZZ_BEGIN_C

NMRFUZZ_INLINE void FatalListEntryError(PVOID a, PVOID b, PVOID c) {
    (void)a;
    (void)b;
    (void)c;
    NmrfuzzFastFail(FAST_FAIL_CORRUPT_LIST_ENTRY);
}

NMRFUZZ_INLINE void RtlpCheckListEntry(PLIST_ENTRY Entry) {
    if (Entry->Flink->Blink != Entry || Entry->Blink->Flink != Entry) {
        FatalListEntryError((PVOID)Entry->Flink, (PVOID)Entry, (PVOID)Entry->Blink);
    }
}

NMRFUZZ_INLINE void InitializeListHead(PLIST_ENTRY ListHead) { ListHead->Flink = ListHead->Blink = ListHead; }

NMRFUZZ_INLINE BOOLEAN IsListEmpty(const LIST_ENTRY *ListHead) { return (BOOLEAN)(ListHead->Flink == ListHead); }

// TRUE: the list is empty now.
NMRFUZZ_INLINE BOOLEAN RemoveEntryList(PLIST_ENTRY Entry) {
    PLIST_ENTRY next = Entry->Flink;
    PLIST_ENTRY previous = Entry->Blink;
    if (next->Blink != Entry || previous->Flink != Entry) {
        FatalListEntryError((PVOID)previous, (PVOID)Entry, (PVOID)next);
    }
    previous->Flink = next;
    next->Blink = previous;
    return (BOOLEAN)(next == previous);
}

NMRFUZZ_INLINE PLIST_ENTRY RemoveHeadList(PLIST_ENTRY ListHead) {
    PLIST_ENTRY entry = ListHead->Flink;
    PLIST_ENTRY next = entry->Flink;
    if (entry->Blink != ListHead || next->Blink != entry) {
        FatalListEntryError((PVOID)ListHead, (PVOID)entry, (PVOID)next);
    }
    ListHead->Flink = next;
    next->Blink = ListHead;
    return entry;
}

NMRFUZZ_INLINE PLIST_ENTRY RemoveTailList(PLIST_ENTRY ListHead) {
    PLIST_ENTRY entry = ListHead->Blink;
    PLIST_ENTRY previous = entry->Blink;
    if (entry->Flink != ListHead || previous->Flink != entry) {
        FatalListEntryError((PVOID)previous, (PVOID)entry, (PVOID)ListHead);
    }
    ListHead->Blink = previous;
    previous->Flink = ListHead;
    return entry;
}

NMRFUZZ_INLINE void InsertHeadList(PLIST_ENTRY ListHead, PLIST_ENTRY Entry) {
    PLIST_ENTRY next = ListHead->Flink;
    if (next->Blink != ListHead) {
        FatalListEntryError((PVOID)ListHead, (PVOID)Entry, (PVOID)next);
    }
    Entry->Flink = next;
    Entry->Blink = ListHead;
    next->Blink = Entry;
    ListHead->Flink = Entry;
}

NMRFUZZ_INLINE void InsertTailList(PLIST_ENTRY ListHead, PLIST_ENTRY Entry) {
    PLIST_ENTRY previous = ListHead->Blink;
    if (previous->Flink != ListHead) {
        FatalListEntryError((PVOID)previous, (PVOID)Entry, (PVOID)ListHead);
    }
    Entry->Flink = ListHead;
    Entry->Blink = previous;
    previous->Flink = Entry;
    ListHead->Blink = Entry;
}

// Appends the headless list ListToAppend behind the last entry of ListHead.
NMRFUZZ_INLINE void AppendTailList(PLIST_ENTRY ListHead, PLIST_ENTRY ListToAppend) {
    PLIST_ENTRY last = ListHead->Blink;
    RtlpCheckListEntry(ListHead);
    RtlpCheckListEntry(ListToAppend);
    ListHead->Blink->Flink = ListToAppend;
    ListHead->Blink = ListToAppend->Blink;
    ListToAppend->Blink->Flink = ListHead;
    ListToAppend->Blink = last;
}

NMRFUZZ_INLINE void PushEntryList(PSINGLE_LIST_ENTRY ListHead, PSINGLE_LIST_ENTRY Entry) {
    Entry->Next = ListHead->Next;
    ListHead->Next = Entry;
}

NMRFUZZ_INLINE PSINGLE_LIST_ENTRY PopEntryList(PSINGLE_LIST_ENTRY ListHead) {
    PSINGLE_LIST_ENTRY first = ListHead->Next;
    if (first != NULL) {
        ListHead->Next = first->Next;
    }
    return first;
}

NMRFUZZ_END_C

#endif
