// netioddk.h - the WDK name of the registrar's entry points.
#include "nmrfuzz/sal.h"
#include "nmrfuzz/nmr.h"
#include "nmrfuzz/status.h"
#include <guiddef.h>
