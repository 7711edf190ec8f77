// Ntstrsafe.h - forwards to ntstrsafe.h: Windows does not tell letter cases apart.
#include <ntstrsafe.h>
