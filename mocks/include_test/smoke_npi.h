// smoke_npi.h - the NPI between smoke_driver.c and smoke_client.cpp.
#pragma once
#include <netioddk.h>

DEFINE_GUID(SMOKE_NPIID, 0x5b1f0c4e, 0x7a52, 0x4c0e, 0x9d, 0x11, 0x20, 0x6a, 0x31, 0x5e, 0x88, 0x01);

typedef NTSTATUS SMOKE_SEND_FN(_In_ PVOID ProviderBindingContext, _In_reads_bytes_(Length) const UCHAR* Data,
                               _In_ ULONG Length);
typedef VOID SMOKE_SENT_FN(_In_ PVOID ClientBindingContext, _In_ NTSTATUS Status);

typedef struct _SMOKE_PROVIDER_DISPATCH {
  USHORT Version;
  USHORT Size;
  SMOKE_SEND_FN* Send;
} SMOKE_PROVIDER_DISPATCH;

typedef struct _SMOKE_CLIENT_DISPATCH {
  USHORT Version;
  USHORT Size;
  SMOKE_SENT_FN* Sent;
} SMOKE_CLIENT_DISPATCH;
