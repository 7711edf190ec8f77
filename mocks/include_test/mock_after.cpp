// mock_after.cpp - our own sources: the standard library after these headers.
#include <intrin.h>
#include <netioddk.h>
#include <ntifs.h>
#include <ntintsafe.h>
#include <ntstrsafe.h>

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/user.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <bitset>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <ranges>
#include <regex>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

// What the mocks rely on: the fields that the simulated kernel fills.
static_assert(offsetof(DISPATCHER_HEADER, ObjectNumber) == 8 && offsetof(KDPC, ObjectNumber) == 4);
static_assert(offsetof(FAST_MUTEX, ObjectNumber) == 52 && offsetof(WORK_QUEUE_ITEM, ObjectNumber) == 8);
static_assert(offsetof(EX_RUNDOWN_REF, ObjectNumber) == 0 && offsetof(EX_PUSH_LOCK, ObjectNumber) == 0);
static_assert(offsetof(KLOCK_QUEUE_HANDLE, ObjectNumber) == 20 && offsetof(LOOKASIDE_LIST_EX, ObjectNumber) == 16);
static_assert(sizeof(_IO_WORKITEM) == 64 && sizeof(_KTHREAD) == 24 && sizeof(_EX_TIMER) == 24);
extern "C" LONG InterlockedIncrement(LONG volatile* addend) { return __atomic_add_fetch(addend, 1, __ATOMIC_SEQ_CST); }
extern "C" VOID KeInitializeSpinLock(PKSPIN_LOCK lock) { *lock = 0; }
