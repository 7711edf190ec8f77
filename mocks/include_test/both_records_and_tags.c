// both_records_and_tags.c - CONTAINING_RECORD and its kin on const and nested members, multi-character pool tags.
#include <ntddk.h>

typedef struct _RECORD {
    ULONG Tag;
    struct {
        LIST_ENTRY Links[2];
    } Inner;
    KDPC Dpc;
} RECORD;
C_ASSERT(FIELD_OFFSET(RECORD, Inner.Links[1]) == 24);
C_ASSERT(RTL_FIELD_SIZE(RECORD, Dpc) == 64);
C_ASSERT(RTL_SIZEOF_THROUGH_FIELD(RECORD, Tag) == 4);
C_ASSERT('abcd' == 0x61626364);
#define POOL_TAG 'tseT'

typedef enum _FLAGS { FlagA = 1, FlagB = 2 } FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(FLAGS);
DECLARE_HANDLE(RECORD_HANDLE);
C_ASSERT(sizeof(RECORD_HANDLE) == 8 && (FlagA | FlagB) == 3);

EXTERN_C RECORD *Records(const LIST_ENTRY *Entry, SIZE_T Size);
RECORD *Records(const LIST_ENTRY *Entry, SIZE_T Size) {
    RECORD *record = CONTAINING_RECORD(Entry, RECORD, Inner.Links[0]);
    RECORD *fresh = (RECORD *)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(RECORD), POOL_TAG);
    if (fresh == NULL || !RTL_CONTAINS_FIELD(record, Size, Dpc)) {
        return record;
    }
    InitializeListHead(&fresh->Inner.Links[0]);
    if (!IsListEmpty(&fresh->Inner.Links[0])) {
        RemoveEntryList(RemoveHeadList(&fresh->Inner.Links[0]));
    }
    ExFreePoolWithTag(fresh, POOL_TAG);
    return (RECORD *)ALIGN_UP_POINTER_BY(record, 16);
}
