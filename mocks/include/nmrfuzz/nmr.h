// nmr.h - the Network Module Registrar: nine entry points, callback types, structures.
// Sources: reference pages of netioddk.h ("NmrRegisterProvider" and its eight companions, "NPI_CLIENT_CHARACTERISTICS",
// "NPI_PROVIDER_CHARACTERISTICS", "NPI_REGISTRATION_INSTANCE", the six callback pages).
// Characteristics, registration instances, module ids and NPI ids are passed as pointers to const.
#ifndef NMRFUZZ_NMR_H
#define NMRFUZZ_NMR_H

#include "nmrfuzz/guid.h"

NMRFUZZ_BEGIN_C

typedef GUID NPIID;
typedef const NPIID *PNPIID;

typedef enum _NPI_MODULEID_TYPE { MIT_GUID = 1, MIT_IF_LUID = 2 } NPI_MODULEID_TYPE;

typedef struct _NPI_MODULEID {
    USHORT Length;
    NPI_MODULEID_TYPE Type;
    union {
        GUID Guid;
        LUID IfLuid;
    };
} NPI_MODULEID;
typedef const NPI_MODULEID *PNPI_MODULEID;

typedef struct _NPI_REGISTRATION_INSTANCE {
    USHORT Version;
    USHORT Size;
    PNPIID NpiId;
    PNPI_MODULEID ModuleId;
    ULONG Number;
    const void *NpiSpecificCharacteristics;
} NPI_REGISTRATION_INSTANCE;
typedef const NPI_REGISTRATION_INSTANCE *PNPI_REGISTRATION_INSTANCE;

// Attach: PASSIVE_LEVEL. Detach and cleanup: <= DISPATCH_LEVEL.
typedef NTSTATUS NTAPI NPI_CLIENT_ATTACH_PROVIDER_FN(HANDLE NmrBindingHandle, PVOID ClientContext,
                                                     PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance);
typedef NPI_CLIENT_ATTACH_PROVIDER_FN *PNPI_CLIENT_ATTACH_PROVIDER_FN;
typedef NTSTATUS NTAPI NPI_CLIENT_DETACH_PROVIDER_FN(PVOID ClientBindingContext);
typedef NPI_CLIENT_DETACH_PROVIDER_FN *PNPI_CLIENT_DETACH_PROVIDER_FN;
typedef void NTAPI NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN(PVOID ClientBindingContext);
typedef NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN *PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN;

typedef NTSTATUS NTAPI NPI_PROVIDER_ATTACH_CLIENT_FN(HANDLE NmrBindingHandle, PVOID ProviderContext,
                                                     PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
                                                     PVOID ClientBindingContext, const void *ClientDispatch,
                                                     PVOID *ProviderBindingContext, const void **ProviderDispatch);
typedef NPI_PROVIDER_ATTACH_CLIENT_FN *PNPI_PROVIDER_ATTACH_CLIENT_FN;
typedef NTSTATUS NTAPI NPI_PROVIDER_DETACH_CLIENT_FN(PVOID ProviderBindingContext);
typedef NPI_PROVIDER_DETACH_CLIENT_FN *PNPI_PROVIDER_DETACH_CLIENT_FN;
typedef void NTAPI NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN(PVOID ProviderBindingContext);
typedef NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN *PNPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN;

typedef struct _NPI_CLIENT_CHARACTERISTICS {
    USHORT Version;
    USHORT Length;
    PNPI_CLIENT_ATTACH_PROVIDER_FN ClientAttachProvider;
    PNPI_CLIENT_DETACH_PROVIDER_FN ClientDetachProvider;
    PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ClientCleanupBindingContext;
    NPI_REGISTRATION_INSTANCE ClientRegistrationInstance;
} NPI_CLIENT_CHARACTERISTICS;
typedef const NPI_CLIENT_CHARACTERISTICS *PNPI_CLIENT_CHARACTERISTICS;

typedef struct _NPI_PROVIDER_CHARACTERISTICS {
    USHORT Version;
    USHORT Length;
    PNPI_PROVIDER_ATTACH_CLIENT_FN ProviderAttachClient;
    PNPI_PROVIDER_DETACH_CLIENT_FN ProviderDetachClient;
    PNPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ProviderCleanupBindingContext;
    NPI_REGISTRATION_INSTANCE ProviderRegistrationInstance;
} NPI_PROVIDER_CHARACTERISTICS;
typedef const NPI_PROVIDER_CHARACTERISTICS *PNPI_PROVIDER_CHARACTERISTICS;

typedef struct _NPI {
    HANDLE Handle;
    const void *Dispatch;
} NPI;

// Register and attach: PASSIVE_LEVEL. Deregister and the two completions: <= DISPATCH_LEVEL. Wait: < DISPATCH_LEVEL.
NTSTATUS NmrRegisterProvider(PNPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics, PVOID ProviderContext,
                             PHANDLE NmrProviderHandle);
NTSTATUS NmrDeregisterProvider(HANDLE NmrProviderHandle);
NTSTATUS NmrWaitForProviderDeregisterComplete(HANDLE NmrProviderHandle);
void NmrProviderDetachClientComplete(HANDLE NmrBindingHandle);

NTSTATUS NmrRegisterClient(PNPI_CLIENT_CHARACTERISTICS ClientCharacteristics, PVOID ClientContext,
                           PHANDLE NmrClientHandle);
NTSTATUS NmrDeregisterClient(HANDLE NmrClientHandle);
NTSTATUS NmrWaitForClientDeregisterComplete(HANDLE NmrClientHandle);
NTSTATUS NmrClientAttachProvider(HANDLE NmrBindingHandle, PVOID ClientBindingContext, const void *ClientDispatch,
                                 PVOID *ProviderBindingContext, const void **ProviderDispatch);
void NmrClientDetachProviderComplete(HANDLE NmrBindingHandle);

NMRFUZZ_INLINE BOOLEAN NmrIsEqualNpiModuleId(PNPI_MODULEID a, PNPI_MODULEID b) {
    if (a->Type != b->Type) {
        return FALSE;
    }
    return (BOOLEAN)(a->Type == MIT_GUID
                         ? __builtin_memcmp(&a->Guid, &b->Guid, sizeof(GUID)) == 0
                         : a->IfLuid.LowPart == b->IfLuid.LowPart && a->IfLuid.HighPart == b->IfLuid.HighPart);
}

NMRFUZZ_END_C

#define NMRFUZZ_AT(type, field, at) NMRFUZZ_STATIC_ASSERT(__builtin_offsetof(type, field) == at, #type "." #field)
NMRFUZZ_AT(NPI_MODULEID, Length, 0);
NMRFUZZ_AT(NPI_MODULEID, Type, 4);
NMRFUZZ_AT(NPI_MODULEID, Guid, 8);
NMRFUZZ_AT(NPI_MODULEID, IfLuid, 8);
NMRFUZZ_STATIC_ASSERT(sizeof(NPI_MODULEID) == 24, "layout");
NMRFUZZ_AT(NPI_REGISTRATION_INSTANCE, Version, 0);
NMRFUZZ_AT(NPI_REGISTRATION_INSTANCE, Size, 2);
NMRFUZZ_AT(NPI_REGISTRATION_INSTANCE, NpiId, 8);
NMRFUZZ_AT(NPI_REGISTRATION_INSTANCE, ModuleId, 16);
NMRFUZZ_AT(NPI_REGISTRATION_INSTANCE, Number, 24);
NMRFUZZ_AT(NPI_REGISTRATION_INSTANCE, NpiSpecificCharacteristics, 32);
NMRFUZZ_STATIC_ASSERT(sizeof(NPI_REGISTRATION_INSTANCE) == 40, "layout");
NMRFUZZ_AT(NPI_CLIENT_CHARACTERISTICS, Version, 0);
NMRFUZZ_AT(NPI_CLIENT_CHARACTERISTICS, Length, 2);
NMRFUZZ_AT(NPI_CLIENT_CHARACTERISTICS, ClientAttachProvider, 8);
NMRFUZZ_AT(NPI_CLIENT_CHARACTERISTICS, ClientDetachProvider, 16);
NMRFUZZ_AT(NPI_CLIENT_CHARACTERISTICS, ClientCleanupBindingContext, 24);
NMRFUZZ_AT(NPI_CLIENT_CHARACTERISTICS, ClientRegistrationInstance, 32);
NMRFUZZ_STATIC_ASSERT(sizeof(NPI_CLIENT_CHARACTERISTICS) == 72, "layout");
NMRFUZZ_AT(NPI_PROVIDER_CHARACTERISTICS, Version, 0);
NMRFUZZ_AT(NPI_PROVIDER_CHARACTERISTICS, Length, 2);
NMRFUZZ_AT(NPI_PROVIDER_CHARACTERISTICS, ProviderAttachClient, 8);
NMRFUZZ_AT(NPI_PROVIDER_CHARACTERISTICS, ProviderDetachClient, 16);
NMRFUZZ_AT(NPI_PROVIDER_CHARACTERISTICS, ProviderCleanupBindingContext, 24);
NMRFUZZ_AT(NPI_PROVIDER_CHARACTERISTICS, ProviderRegistrationInstance, 32);
NMRFUZZ_STATIC_ASSERT(sizeof(NPI_PROVIDER_CHARACTERISTICS) == 72, "layout");
NMRFUZZ_AT(NPI, Handle, 0);
NMRFUZZ_AT(NPI, Dispatch, 8);
NMRFUZZ_STATIC_ASSERT(sizeof(NPI) == 16, "layout");

#endif
