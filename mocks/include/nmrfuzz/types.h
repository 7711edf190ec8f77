// types.h - scalar and small structure types, in their x64 Windows sizes.
// Sources: documentation pages "Windows Data Types", "Windows Kernel-Mode Data Types", "UNICODE_STRING",
// "LARGE_INTEGER", "OBJECT_ATTRIBUTES", "CLIENT_ID", "PROCESSOR_NUMBER", "GROUP_AFFINITY".
// LONG and its kin are int-based (Linux long has 64 bits). Every 64-bit name is long-based, so that SIZE_T, ULONG64,
// uint64_t and size_t are one type, as they are on Windows.
#ifndef NMRFUZZ_TYPES_H
#define NMRFUZZ_TYPES_H

#include "nmrfuzz/compiler.h"

NMRFUZZ_BEGIN_C

#ifdef NMRFUZZ_MOCK
typedef void VOID;
#endif

typedef void *PVOID, *LPVOID;
typedef void *PVOID64;
typedef const void *PCVOID, *LPCVOID;

typedef char CHAR, CCHAR;
typedef signed char INT8, *PINT8;
typedef unsigned char UCHAR, BYTE, BOOLEAN, UINT8, *PUINT8;
typedef short SHORT, CSHORT, INT16, *PINT16;
typedef unsigned short USHORT, WORD, UINT16, *PUINT16;
typedef int LONG, INT, INT32, LONG32, BOOL, HRESULT, NTSTATUS, *PINT32, *PLONG32;
typedef unsigned int ULONG, UINT, UINT32, ULONG32, DWORD, DWORD32, LOGICAL, *PUINT32, *PULONG32;
typedef long LONG64, LONGLONG, INT64, LONG_PTR, INT_PTR, SSIZE_T, *PINT64;
typedef unsigned long ULONG64, ULONGLONG, UINT64, DWORD64, DWORDLONG, ULONG_PTR, UINT_PTR, DWORD_PTR, SIZE_T, *PUINT64;
typedef float FLOAT;
typedef double DOUBLE;

typedef CHAR *PCHAR, *LPCH, *PCH, *PSTR, *LPSTR, *NPSTR, *PSZ, *PCCHAR;
typedef const CHAR *PCSTR, *LPCSTR, *PCSZ, *LPCCH, *PCCH;
typedef UCHAR *PUCHAR;
typedef BYTE *PBYTE, *LPBYTE;
typedef BOOLEAN *PBOOLEAN;
typedef BOOL *PBOOL, *LPBOOL;
typedef SHORT *PSHORT;
typedef USHORT *PUSHORT;
typedef WORD *PWORD, *LPWORD;
typedef INT *PINT, *LPINT;
typedef UINT *PUINT;
typedef LONG *PLONG, *LPLONG;
typedef ULONG *PULONG, *PLOGICAL;
typedef DWORD *PDWORD, *LPDWORD;
typedef LONG64 *PLONG64, *PLONGLONG;
typedef ULONG64 *PULONG64, *PULONGLONG, *PDWORD64, *PDWORDLONG;
typedef LONG_PTR *PLONG_PTR, *PINT_PTR;
typedef ULONG_PTR *PULONG_PTR, *PUINT_PTR, *PDWORD_PTR;
typedef SIZE_T *PSIZE_T;
typedef SSIZE_T *PSSIZE_T;
typedef NTSTATUS *PNTSTATUS;

// 16 bits: everything that sees this header is compiled with -fshort-wchar.
typedef wchar_t WCHAR;
typedef WCHAR *PWCHAR, *LPWCH, *PWCH, *PWSTR, *LPWSTR, *NWPSTR, *PZZWSTR;
typedef const WCHAR *PCWSTR, *LPCWSTR, *LPCWCH, *PCWCH, *PCZZWSTR;

typedef PVOID HANDLE;
typedef HANDLE *PHANDLE, *LPHANDLE;
typedef ULONG ACCESS_MASK, *PACCESS_MASK;
typedef UCHAR KIRQL, *PKIRQL;
typedef LONG KPRIORITY;
typedef CCHAR KPROCESSOR_MODE;
typedef ULONG_PTR KAFFINITY, *PKAFFINITY;
typedef ULONG_PTR KSPIN_LOCK, *PKSPIN_LOCK;
typedef PVOID PSECURITY_DESCRIPTOR;
typedef ULONG DEVICE_TYPE;

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif

typedef union _LARGE_INTEGER {
    struct {
        ULONG LowPart;
        LONG HighPart;
    };
    struct {
        ULONG LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef union _ULARGE_INTEGER {
    struct {
        ULONG LowPart;
        ULONG HighPart;
    };
    struct {
        ULONG LowPart;
        ULONG HighPart;
    } u;
    ULONGLONG QuadPart;
} ULARGE_INTEGER, *PULARGE_INTEGER;

typedef LARGE_INTEGER PHYSICAL_ADDRESS, *PPHYSICAL_ADDRESS;

typedef struct _LUID {
    ULONG LowPart;
    LONG HighPart;
} LUID, *PLUID;

typedef struct _UNICODE_STRING {
    USHORT Length;        // bytes in use, no terminator counted
    USHORT MaximumLength; // bytes in Buffer
    PWCH Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;

typedef struct _STRING {
    USHORT Length;
    USHORT MaximumLength;
    PCHAR Buffer;
} STRING, ANSI_STRING, OEM_STRING, UTF8_STRING, *PSTRING, *PANSI_STRING, *POEM_STRING, *PUTF8_STRING;
typedef const STRING *PCSTRING, *PCANSI_STRING;

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink;
    struct _LIST_ENTRY *Blink;
} LIST_ENTRY, *PLIST_ENTRY;

typedef struct _SINGLE_LIST_ENTRY {
    struct _SINGLE_LIST_ENTRY *Next;
} SINGLE_LIST_ENTRY, *PSINGLE_LIST_ENTRY;

typedef struct _OBJECT_ATTRIBUTES {
    ULONG Length;
    HANDLE RootDirectory;
    PUNICODE_STRING ObjectName;
    ULONG Attributes;
    PVOID SecurityDescriptor;
    PVOID SecurityQualityOfService;
} OBJECT_ATTRIBUTES, *POBJECT_ATTRIBUTES;
typedef const OBJECT_ATTRIBUTES *PCOBJECT_ATTRIBUTES;

typedef struct _CLIENT_ID {
    HANDLE UniqueProcess;
    HANDLE UniqueThread;
} CLIENT_ID, *PCLIENT_ID;

typedef struct _PROCESSOR_NUMBER {
    USHORT Group;
    UCHAR Number;
    UCHAR Reserved;
} PROCESSOR_NUMBER, *PPROCESSOR_NUMBER;

typedef struct _GROUP_AFFINITY {
    KAFFINITY Mask;
    USHORT Group;
    USHORT Reserved[3];
} GROUP_AFFINITY, *PGROUP_AFFINITY;

typedef enum _MODE { KernelMode = 0, UserMode = 1, MaximumMode = 2 } MODE;

// Kernel objects that modules know only by pointer.
typedef struct _KTHREAD KTHREAD, *PKTHREAD, *PRKTHREAD, *PETHREAD;
typedef struct _KPROCESS *PKPROCESS, *PRKPROCESS, *PEPROCESS;
typedef struct _OBJECT_TYPE *POBJECT_TYPE;
typedef struct _DRIVER_OBJECT *PDRIVER_OBJECT;
typedef struct _DEVICE_OBJECT *PDEVICE_OBJECT;
typedef struct _IRP *PIRP;
typedef struct _MDL MDL, *PMDL;
typedef struct _FILE_OBJECT *PFILE_OBJECT;

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(WCHAR) == 2, "compile with -fshort-wchar");
NMRFUZZ_STATIC_ASSERT(sizeof(CHAR) == 1 && sizeof(UCHAR) == 1 && sizeof(BOOLEAN) == 1 && sizeof(KIRQL) == 1, "8 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(INT8) == 1 && sizeof(UINT8) == 1 && sizeof(BYTE) == 1 && sizeof(CCHAR) == 1, "8 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(SHORT) == 2 && sizeof(USHORT) == 2 && sizeof(WORD) == 2 && sizeof(CSHORT) == 2, "16 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(LONG) == 4 && sizeof(ULONG) == 4 && sizeof(NTSTATUS) == 4 && sizeof(BOOL) == 4, "32 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(DWORD) == 4 && sizeof(UINT) == 4 && sizeof(HRESULT) == 4 && sizeof(LONG32) == 4, "32 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(INT32) == 4 && sizeof(UINT32) == 4 && sizeof(KPRIORITY) == 4, "32 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(ACCESS_MASK) == 4 && sizeof(DEVICE_TYPE) == 4, "32 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(LONG64) == 8 && sizeof(ULONG64) == 8 && sizeof(LONGLONG) == 8 && sizeof(SIZE_T) == 8, "64 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(LONG_PTR) == 8 && sizeof(ULONG_PTR) == 8 && sizeof(KAFFINITY) == 8, "64 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(INT64) == 8 && sizeof(UINT64) == 8 && sizeof(KSPIN_LOCK) == 8, "64 bits");
NMRFUZZ_STATIC_ASSERT(sizeof(PVOID) == 8 && sizeof(HANDLE) == 8, "64 bits");
NMRFUZZ_STATIC_ASSERT((LONG)-1 < 0 && (ULONG)-1 > 0 && (NTSTATUS)-1 < 0 && (LONG64)-1 < 0, "signs");
NMRFUZZ_STATIC_ASSERT(sizeof(LARGE_INTEGER) == 8 && sizeof(ULARGE_INTEGER) == 8 && sizeof(LUID) == 8, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(UNICODE_STRING) == 16 && sizeof(STRING) == 16, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(LIST_ENTRY) == 16 && sizeof(SINGLE_LIST_ENTRY) == 8, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(OBJECT_ATTRIBUTES) == 48 && sizeof(CLIENT_ID) == 16, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(PROCESSOR_NUMBER) == 4 && sizeof(GROUP_AFFINITY) == 16, "layout");

#endif
