// fail_leave.c - __leave without its switch is an error.
#include <ntddk.h>
void Leave(void) {
    __try {
        __leave;
    } __finally {
    }
}
