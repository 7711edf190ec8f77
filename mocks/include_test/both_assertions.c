// both_assertions.c - assertions as statements and as values, debug output.
// flags: -Wall -Wextra -Werror
#include <ntddk.h>
EXTERN_C NTSTATUS Assertions(NTSTATUS Status);
NTSTATUS Assertions(NTSTATUS Status) {
    ASSERT(Status == STATUS_PENDING);
    ASSERTMSG("message", NT_SUCCESS(Status));
    NT_ASSERT(Status != STATUS_SUCCESS);
    NT_ASSERTMSG("message", Status != STATUS_SUCCESS);
    NT_VERIFY(NT_SUCCESS(Status));
    if (!NT_VERIFY(Status == 0)) {
        KdPrint(("status %x\n", (unsigned)Status));
    }
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "%wZ", NULL);
    if (Status == STATUS_INTERNAL_ERROR) {
        KeBugCheckEx(0xE2, 1, 2, 3, (ULONG_PTR)&Status);
    }
    return ASSERT(1), Status;
}
