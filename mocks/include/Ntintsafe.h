// Ntintsafe.h - forwards to ntintsafe.h: Windows does not tell letter cases apart.
#include <ntintsafe.h>
