// Ntifs.h - forwards to ntifs.h: Windows does not tell letter cases apart.
#include <ntifs.h>
