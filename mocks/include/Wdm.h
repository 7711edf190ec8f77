// Wdm.h - forwards to wdm.h: Windows does not tell letter cases apart.
#include <wdm.h>
