// devioctl.h - the WDK name of the control code macros.
#include "nmrfuzz/io_irp.h"
