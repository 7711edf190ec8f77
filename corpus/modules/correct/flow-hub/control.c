// control.c - the control device and its symbolic link. See hub.h.
//
// The device has no dispatch routines yet, so opening it fails; it is what the detach work items are allocated for.

#include "hub.h"

static UNICODE_STRING HubDeviceName = RTL_CONSTANT_STRING(L"\\Device\\NmrFlowHub");
static UNICODE_STRING HubLinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\NmrFlowHub");

_Use_decl_annotations_
NTSTATUS
HubControlStart(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    Status = IoCreateDevice(
        DriverObject, 0, &HubDeviceName, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &Hub.ControlDevice);
    if (!NT_SUCCESS(Status)) {
        Hub.ControlDevice = NULL;
        return Status;
    }

    Status = IoCreateSymbolicLink(&HubLinkName, &HubDeviceName);
    Hub.LinkCreated = NT_SUCCESS(Status);
    return Status;
}

_Use_decl_annotations_
VOID
HubControlStop(VOID)
{
    if (Hub.LinkCreated) {
        IoDeleteSymbolicLink(&HubLinkName);
        Hub.LinkCreated = FALSE;
    }

    if (Hub.ControlDevice != NULL) {
        IoDeleteDevice(Hub.ControlDevice);
        Hub.ControlDevice = NULL;
    }
}
