// NtStatus.h - forwards to ntstatus.h: Windows does not tell letter cases apart.
#include <ntstatus.h>
