// WinDef.h - forwards to windef.h: Windows does not tell letter cases apart.
#include <windef.h>
