// both_order_ntddk_wdm_ntifs.c - include order ntddk, wdm, ntifs, then the registrar's headers and the others.
// flags: -Wall -Wextra -Werror
#include <ntddk.h>
#include <wdm.h>
#include <ntifs.h>
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
