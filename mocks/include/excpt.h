// excpt.h - the WDK name of structured exception handling; here its words only.
#include "nmrfuzz/types.h"
