// Netiodef.h - forwards to netiodef.h: Windows does not tell letter cases apart.
#include <netiodef.h>
