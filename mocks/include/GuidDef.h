// GuidDef.h - forwards to guiddef.h: Windows does not tell letter cases apart.
#include <guiddef.h>
