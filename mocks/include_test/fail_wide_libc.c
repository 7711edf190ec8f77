// fail_wide_libc.c - a wide function of the C library, with its 32-bit units, is not to be had by accident.
#include <ntddk.h>
int Convert(const WCHAR *Text) { return (int)wcstol(Text, NULL, 10); }
