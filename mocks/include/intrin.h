// intrin.h - the WDK name of compiler intrinsics. Stands in front of the compiler's own, which is for Windows targets.
#include "nmrfuzz/intrinsics.h"
