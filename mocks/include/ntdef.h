// ntdef.h - the WDK name of basic types, macros and annotations.
#include "nmrfuzz/sal.h"
#include "nmrfuzz/types.h"
#include "nmrfuzz/macros.h"
#include "nmrfuzz/string.h"
#include <guiddef.h>
