// both_order_ntifs_wdm_ntddk.c - include order ntifs, wdm, ntddk, then the registrar's headers and the others.
// flags: -Wall -Wextra -Werror
#include <ntifs.h>
#include <wdm.h>
#include <ntddk.h>
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
