// both_guid_initguid.c - DEFINE_GUID before initguid.h declares, after it defines, though guiddef.h was already read.
// flags: -Wall -Wextra -Werror
#include <wdm.h>
DEFINE_GUID(Twice, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
#include <initguid.h>
DEFINE_GUID(Twice, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
EXTERN_C const GUID *TwiceAddress(void);
const GUID *TwiceAddress(void) { return &Twice; }
