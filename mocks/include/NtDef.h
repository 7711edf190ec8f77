// NtDef.h - forwards to ntdef.h: Windows does not tell letter cases apart.
#include <ntdef.h>
