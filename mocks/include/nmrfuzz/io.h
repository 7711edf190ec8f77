// io.h - driver model: driver and device objects, request types, entry point types, devices, symbolic links.
// Sources: documentation pages "DRIVER_OBJECT", "DEVICE_OBJECT", "IRP", "IO_STACK_LOCATION", "DRIVER_INITIALIZE",
// "DRIVER_UNLOAD", "DRIVER_DISPATCH", "IoCreateDevice", "IoDeleteDevice", "IoCreateSymbolicLink",
// "IRP Major Function Codes", "Specifying Device Types", "Defining I/O Control Codes".
// Requests have types only: no routine of this tier makes, reads or completes one.
#ifndef NMRFUZZ_IO_H
#define NMRFUZZ_IO_H

#include "nmrfuzz/io_irp.h"

NMRFUZZ_BEGIN_C

typedef NTSTATUS NTAPI DRIVER_INITIALIZE(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath);
typedef DRIVER_INITIALIZE *PDRIVER_INITIALIZE;
typedef void NTAPI DRIVER_UNLOAD(PDRIVER_OBJECT DriverObject);
typedef DRIVER_UNLOAD *PDRIVER_UNLOAD;
typedef NTSTATUS NTAPI DRIVER_DISPATCH(PDEVICE_OBJECT DeviceObject, PIRP Irp);
typedef DRIVER_DISPATCH *PDRIVER_DISPATCH, DRIVER_DISPATCH_PAGED, *PDRIVER_DISPATCH_PAGED;
typedef NTSTATUS NTAPI DRIVER_ADD_DEVICE(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject);
typedef DRIVER_ADD_DEVICE *PDRIVER_ADD_DEVICE;
typedef void NTAPI DRIVER_STARTIO(PDEVICE_OBJECT DeviceObject, PIRP Irp);
typedef DRIVER_STARTIO *PDRIVER_STARTIO;

typedef struct _DRIVER_EXTENSION {
    PDRIVER_OBJECT DriverObject;
    PDRIVER_ADD_DEVICE AddDevice;
    ULONG Count;
    UNICODE_STRING ServiceKeyName;
} DRIVER_EXTENSION, *PDRIVER_EXTENSION;

typedef struct _DRIVER_OBJECT {
    CSHORT Type;
    CSHORT Size;
    PDEVICE_OBJECT DeviceObject;
    ULONG Flags;
    ULONG ObjectNumber; // the simulated kernel's
    PVOID DriverStart;
    ULONG DriverSize;
    PVOID DriverSection;
    PDRIVER_EXTENSION DriverExtension;
    UNICODE_STRING DriverName;
    PUNICODE_STRING HardwareDatabase;
    struct _FAST_IO_DISPATCH *FastIoDispatch;
    PDRIVER_INITIALIZE DriverInit;
    PDRIVER_STARTIO DriverStartIo;
    PDRIVER_UNLOAD DriverUnload;
    PDRIVER_DISPATCH MajorFunction[IRP_MJ_MAXIMUM_FUNCTION + 1];
} DRIVER_OBJECT;

typedef struct DECLSPEC_ALIGN(MEMORY_ALLOCATION_ALIGNMENT) _DEVICE_OBJECT {
    CSHORT Type;
    USHORT Size;
    LONG ReferenceCount;
    PDRIVER_OBJECT DriverObject;
    PDEVICE_OBJECT NextDevice;
    PDEVICE_OBJECT AttachedDevice;
    PIRP CurrentIrp;
    PVOID Timer;
    ULONG Flags;
    ULONG Characteristics;
    PVOID Vpb;
    PVOID DeviceExtension;
    DEVICE_TYPE DeviceType;
    CCHAR StackSize;
    ULONG ObjectNumber; // the simulated kernel's
    ULONG AlignmentRequirement;
    PVOID Reserved1[22];
    ULONG ActiveThreadCount;
    PSECURITY_DESCRIPTOR SecurityDescriptor;
    KEVENT DeviceLock;
    USHORT SectorSize;
    USHORT Spare1;
    PVOID DeviceObjectExtension;
    PVOID Reserved;
} DEVICE_OBJECT;

// Create, delete: <= APC_LEVEL. Links: PASSIVE_LEVEL.
NTSTATUS IoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize, PUNICODE_STRING DeviceName,
                        DEVICE_TYPE DeviceType, ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                        PDEVICE_OBJECT *DeviceObject);
void IoDeleteDevice(PDEVICE_OBJECT DeviceObject);
NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING SymbolicLinkName, PUNICODE_STRING DeviceName);
NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING SymbolicLinkName);

// PASSIVE_LEVEL; NULL if the simulated kernel has no routine of that name.
PVOID MmGetSystemRoutineAddress(PUNICODE_STRING SystemRoutineName);

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(DRIVER_OBJECT) == 336, "layout");
NMRFUZZ_STATIC_ASSERT(__builtin_offsetof(DRIVER_OBJECT, DriverUnload) == 104, "layout");
NMRFUZZ_STATIC_ASSERT(__builtin_offsetof(DRIVER_OBJECT, MajorFunction) == 112, "layout");
NMRFUZZ_STATIC_ASSERT(__builtin_offsetof(DEVICE_OBJECT, DeviceExtension) == 64, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(DEVICE_OBJECT) == 336, "layout");

#endif
