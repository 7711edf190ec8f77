// ntstatus.h - the WDK name of the status values.
#include "nmrfuzz/status.h"
