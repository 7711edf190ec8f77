// both_order_ntddk_ntifs_wdm.c - include order ntddk, ntifs, wdm, then the registrar's headers and the others.
// flags: -Wall -Wextra -Werror
#include <ntddk.h>
#include <ntifs.h>
#include <wdm.h>
#include <netioddk.h>
#include <ntstrsafe.h>
#include <ntintsafe.h>
#include <ntstatus.h>
#include <stdint.h>
#include <stdbool.h>

C_ASSERT(sizeof(NPI_CLIENT_CHARACTERISTICS) == 72);
#ifndef __cplusplus
DRIVER_INITIALIZE DriverEntry;
#endif
