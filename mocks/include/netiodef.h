// netiodef.h - the WDK name of the registrar's types.
#include "nmrfuzz/sal.h"
#include "nmrfuzz/nmr.h"
#include <guiddef.h>
