// bugcodes.h - the WDK name of the bug check codes.
#include "nmrfuzz/bug_codes.h"
