// basetsd.h - the WDK name of the sized types.
#include "nmrfuzz/types.h"
#include "nmrfuzz/macros.h"
