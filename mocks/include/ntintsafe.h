// ntintsafe.h - the WDK name of checked arithmetic.
#include "nmrfuzz/sal.h"
#include "nmrfuzz/safe_int.h"
