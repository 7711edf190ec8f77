// Intrin.h - forwards to intrin.h: Windows does not tell letter cases apart.
#include <intrin.h>
