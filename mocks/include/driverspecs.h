// driverspecs.h - the WDK name of source annotations; here all of them are nothing.
#include "nmrfuzz/sal.h"
