// both_order_netioddk_first.c - the registrar's header first, forwarding names in the letter cases seen in use.
// flags: -Wall -Wextra -Werror
#include <NetIoDdk.h>
#include <initguid.h>
#include <ntintsafe.h>
#include <NtStrSafe.h>
#include <sal.h>
#include <intrin.h>
#include <windef.h>
#include <Ntddk.h>
#include <immintrin.h>

DEFINE_GUID(NMRFUZZ_TEST_NPIID, 0x11223344, 0x5566, 0x7788, 1, 2, 3, 4, 5, 6, 7, 8);
EXTERN_C PNPIID TestNpi(void);
PNPIID TestNpi(void) { return &NMRFUZZ_TEST_NPIID; }
