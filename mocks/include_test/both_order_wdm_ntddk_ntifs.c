// both_order_wdm_ntddk_ntifs.c - include order wdm, ntddk, ntifs, then the registrar's headers and the others.
// flags: -Wall -Wextra -Werror
#include <wdm.h>
#include <ntddk.h>
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
