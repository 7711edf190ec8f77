// miniport.h - the WDK name of the kernel surface for miniport drivers; the same here.
#include "nmrfuzz/kernel.h"
