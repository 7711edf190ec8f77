// Initguid.h - forwards to initguid.h: Windows does not tell letter cases apart.
#include <initguid.h>
