// windef.h - the WDK name of the Win32 base types.
#include "nmrfuzz/sal.h"
#include "nmrfuzz/types.h"
#include "nmrfuzz/macros.h"
