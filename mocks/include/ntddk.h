// ntddk.h - the WDK name of the kernel surface for drivers.
#include "nmrfuzz/kernel.h"
