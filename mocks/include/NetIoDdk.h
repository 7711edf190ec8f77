// NetIoDdk.h - forwards to netioddk.h: Windows does not tell letter cases apart.
#include <netioddk.h>
