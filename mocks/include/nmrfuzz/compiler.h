// compiler.h - what the Windows compiler and its lowest headers give for granted: calling conventions, attributes,
// linkage words, annotation words, structured exception handling words, architecture macros.
// Sources: WDK documentation pages "Windows Data Types", "try-except statement", "try-finally statement",
// "__declspec", "Driver programming techniques".
//
// NMRFUZZ_MOCK, defined before the first inclusion, is for our own C++ sources: it leaves out every macro whose plain
// name could break a libstdc++ header (IN, OUT, VOID, min, __try, __in, _In_, ...). Modules never define it.
#ifndef NMRFUZZ_COMPILER_H
#define NMRFUZZ_COMPILER_H

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
#define NMRFUZZ_BEGIN_C extern "C" {
#define NMRFUZZ_END_C }
#define NMRFUZZ_STATIC_ASSERT(e, text) static_assert(e, text)
#ifndef EXTERN_C
#define EXTERN_C extern "C"
#define EXTERN_C_START extern "C" {
#define EXTERN_C_END }
#endif
#else
#define NMRFUZZ_BEGIN_C
#define NMRFUZZ_END_C
#define NMRFUZZ_STATIC_ASSERT(e, text) _Static_assert(e, text)
#ifndef EXTERN_C
#define EXTERN_C extern
#define EXTERN_C_START
#define EXTERN_C_END
#endif
#ifndef static_assert
#define static_assert _Static_assert
#endif
#endif

// Header helpers of our own: a private copy in each source, so that one source alone links.
#define NMRFUZZ_INLINE static __inline__ __attribute__((unused))

#ifndef C_ASSERT
#define C_ASSERT(e) NMRFUZZ_STATIC_ASSERT(e, #e)
#endif

// Calling conventions and import words: both sides are System V here, so all of them are nothing.
#define NTAPI
#define FASTCALL
#define WINAPI
#define APIENTRY
#define CALLBACK
#define NTKERNELAPI
#define NTSYSAPI
#define NTSYSCALLAPI
#define NTHALAPI
#define DECLSPEC_IMPORT
#define DECLSPEC_EXPORT

#define DECLSPEC_ALIGN(x) __declspec(align(x))
#define SYSTEM_CACHE_ALIGNMENT_SIZE 64
#define DECLSPEC_CACHEALIGN DECLSPEC_ALIGN(SYSTEM_CACHE_ALIGNMENT_SIZE)
#define MEMORY_ALLOCATION_ALIGNMENT 16
#define DECLSPEC_SELECTANY __attribute__((weak))
#define DECLSPEC_NORETURN __attribute__((noreturn))
#define DECLSPEC_NOINLINE __attribute__((noinline))
#define DECLSPEC_NOTHROW
#define DECLSPEC_NOINITALL
#define DECLSPEC_DEPRECATED
#define DECLSPEC_DEPRECATED_DDK
#define DECLSPEC_UUID(x)
#define DECLSPEC_NOVTABLE
#define RESTRICTED_POINTER
#define POINTER_64
#define POINTER_32
#define UNALIGNED
#define UNALIGNED64
#define TYPE_ALIGNMENT(t) __alignof__(t)
#ifndef ANYSIZE_ARRAY
#define ANYSIZE_ARRAY 1
#endif

#ifndef NMRFUZZ_MOCK

#define __cdecl
#define _cdecl
#define __stdcall
#define _stdcall
#define __fastcall
#define _fastcall
#define __vectorcall
#define __thiscall
#define __unaligned
#define __ptr32
#define __ptr64
#define __w64
#define _W64
// size_t, uint64_t and SIZE_T are one type on Windows; with this they and every WDK name for 64 bits are one type here.
#define __int64 long
// A false promise must not change what the checks around it do.
#define __assume(e) ((void)0)

// C++ puts it on member functions too, and its inline functions need no static to be shared.
#ifdef __cplusplus
#define FORCEINLINE __inline__ __attribute__((always_inline))
#else
#define FORCEINLINE static __inline__ __attribute__((always_inline, unused))
#endif
#define CFORCEINLINE FORCEINLINE

#ifndef IN
#define IN
#endif
#ifndef OUT
#define OUT
#endif
#ifndef OPTIONAL
#define OPTIONAL
#endif
#ifndef VOID
#define VOID void
#endif
#ifndef CONST
#define CONST const
#endif
#ifndef FAR
#define FAR
#endif
#ifndef NEAR
#define NEAR
#endif

#if !defined(__cplusplus) && !defined(NOMINMAX)
#ifndef min
#define min(a, b) (((a) < (b)) ? (a) : (b))
#endif
#ifndef max
#define max(a, b) (((a) > (b)) ? (a) : (b))
#endif
#endif

// Structured exception handling. No exception is ever raised: a memory fault ends in the sanitizer, which is wanted.
// A return, break, continue or goto out of a __try block does not run its __finally block.
// __leave works only under NMRFUZZ_SEH_LEAVE, where it leaves the innermost switch or loop, and where a break in a
// __try block leaves that block; without it a __leave does not compile.
#undef __try
#undef __except
#undef __finally
#ifdef NMRFUZZ_SEH_LEAVE
#define __try switch (0) default:
#define __except(filter) if (0 && (filter))
#undef __leave
#define __leave break
#else
#define __try if (1)
#define __except(filter) else if (0 && (filter))
#endif
#define __finally

#ifndef _M_AMD64
#define _M_AMD64 100
#endif
#ifndef _M_X64
#define _M_X64 100
#endif
#ifndef _AMD64_
#define _AMD64_ 1
#endif
#ifndef _WIN64
#define _WIN64 1
#endif
// Assertions are live by default (see debug.h), so code under "#if DBG" belongs to the build as well.
#ifndef DBG
#define DBG 1
#endif

#endif // NMRFUZZ_MOCK

#define GetExceptionCode() ((NTSTATUS)0)
#define GetExceptionInformation() ((struct _EXCEPTION_POINTERS *)0)
#define AbnormalTermination() 0
#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)

#define NTDDI_WIN7 0x06010000
#define NTDDI_WIN8 0x06020000
#define NTDDI_WINBLUE 0x06030000
#define NTDDI_WIN10 0x0A000000
#define NTDDI_WIN10_TH2 0x0A000001
#define NTDDI_WIN10_RS1 0x0A000002
#define NTDDI_WIN10_RS2 0x0A000003
#define NTDDI_WIN10_RS3 0x0A000004
#define NTDDI_WIN10_RS4 0x0A000005
#define NTDDI_WIN10_RS5 0x0A000006
#define NTDDI_WIN10_19H1 0x0A000007
#define NTDDI_WIN10_VB 0x0A000008
#define NTDDI_WIN10_FE 0x0A00000A
#define NTDDI_WIN10_CO 0x0A00000B
#define NTDDI_WIN10_NI 0x0A00000C
#define NTDDI_VISTA 0x06000000
#ifndef NTDDI_VERSION
#define NTDDI_VERSION NTDDI_WIN10_NI
#endif
#ifndef WDK_NTDDI_VERSION
#define WDK_NTDDI_VERSION NTDDI_WIN10_NI
#endif
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
#ifndef WINVER
#define WINVER _WIN32_WINNT
#endif

#endif
