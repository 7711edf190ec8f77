// Ntddk.h - forwards to ntddk.h: Windows does not tell letter cases apart.
#include <ntddk.h>
