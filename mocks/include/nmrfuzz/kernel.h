// kernel.h - everything that ntddk.h, wdm.h and ntifs.h give, in one place, so that their order never matters.
// Sources: those of the headers it includes.
#ifndef NMRFUZZ_KERNEL_H
#define NMRFUZZ_KERNEL_H

#include "nmrfuzz/sal.h"
#include "nmrfuzz/types.h"
#include "nmrfuzz/macros.h"
#include "nmrfuzz/status.h"
#include "nmrfuzz/string.h"
#include "nmrfuzz/bug_codes.h"
#include "nmrfuzz/debug.h"
#include "nmrfuzz/list.h"
#include "nmrfuzz/slist.h"
#include "nmrfuzz/interlocked.h"
#include "nmrfuzz/interlocked_long.h"
#include "nmrfuzz/intrinsics.h"
#include "nmrfuzz/dispatcher.h"
#include "nmrfuzz/irql_locks.h"
#include "nmrfuzz/timer_dpc.h"
#include "nmrfuzz/pool.h"
#include "nmrfuzz/rundown.h"
#include "nmrfuzz/work_item.h"
#include "nmrfuzz/threads.h"
#include "nmrfuzz/io.h"

#endif

#include <guiddef.h>
