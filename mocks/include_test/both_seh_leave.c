// both_seh_leave.c - __leave, under the switch that asks for it.
// flags: -DNMRFUZZ_SEH_LEAVE
#include <ntddk.h>
EXTERN_C LONG Leave(LONG Value);
LONG Leave(LONG Value) {
    __try {
        if (Value == 0) {
            __leave;
        }
        Value = 2;
    } __finally {
        ++Value;
    }
    return Value;
}
