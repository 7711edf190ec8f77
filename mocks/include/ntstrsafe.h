// ntstrsafe.h - the WDK name of the safe string functions.
#include "nmrfuzz/sal.h"
#include "nmrfuzz/safe_string.h"
