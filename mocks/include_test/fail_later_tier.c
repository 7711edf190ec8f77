// fail_later_tier.c - a routine that no header declares is an error, not a guess.
#include <ntddk.h>
NTSTATUS Dispatch(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    (void)DeviceObject;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}
