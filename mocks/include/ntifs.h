// ntifs.h - the WDK name of the kernel surface for drivers and file systems.
#include "nmrfuzz/kernel.h"
