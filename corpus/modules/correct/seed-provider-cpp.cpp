// nmrfuzz: module
// summary: Provider in C++ with a class for the state of each client, allocated from pool by the class itself.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Kernel C++ without exceptions, RTTI or static constructors: objects come from pool with a tag, and a failed
// allocation is a null pointer.

#include <ntddk.h>
#include <netioddk.h>

namespace {

constexpr ULONG PoolTag = 'ppCT';

HANDLE ProviderHandle;

// One attached client. Callers come through the dispatch until the client is detached; the spin lock orders them.
class TallyClient final {
public:
    TallyClient(HANDLE Binding, PVOID Context, const VOID *Dispatch) noexcept
        : BindingHandle(Binding), ClientContext(Context), ClientDispatch(Dispatch)
    {
        KeInitializeSpinLock(&Lock);
    }

    // What a call to the client would need.
    const HANDLE BindingHandle;
    const PVOID ClientContext;
    const VOID *const ClientDispatch;

    TallyClient(const TallyClient &) = delete;
    TallyClient &operator=(const TallyClient &) = delete;

    static void *operator new(size_t Size) noexcept
    {
        return ExAllocatePool2(POOL_FLAG_NON_PAGED, Size, PoolTag);
    }

    static void operator delete(void *Block) noexcept
    {
        ExFreePoolWithTag(Block, PoolTag);
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    ULONG64 Add(ULONG Amount) noexcept
    {
        LockHolder Held(Lock);

        Total += Amount;
        return Total;
    }

private:
    class LockHolder final {
    public:
        explicit LockHolder(KSPIN_LOCK &TheLock) noexcept : Held(TheLock)
        {
            KeAcquireSpinLock(&Held, &OldIrql);
        }
        ~LockHolder()
        {
            KeReleaseSpinLock(&Held, OldIrql);
        }

    private:
        KSPIN_LOCK &Held;
        KIRQL OldIrql;
    };

    KSPIN_LOCK Lock;
    ULONG64 Total = 0;
};

struct TallyDispatch {
    ULONG64(NTAPI *Add)(PVOID ProviderBindingContext, ULONG Amount);
};

ULONG64 NTAPI
TallyAdd(PVOID ProviderBindingContext, ULONG Amount)
{
    return static_cast<TallyClient *>(ProviderBindingContext)->Add(Amount);
}

const TallyDispatch Dispatch = { TallyAdd };

NTSTATUS NTAPI
AttachClient(
    _In_ HANDLE BindingHandle,
    _In_ PVOID ProviderContext,
    _In_ PNPI_REGISTRATION_INSTANCE ClientInstance,
    _In_ PVOID ClientContext,
    _In_ CONST VOID *ClientDispatch,
    _Out_ PVOID *ProviderBindingContext,
    _Out_ CONST VOID **ProviderDispatch)
{
    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientInstance);

    auto *Client = new TallyClient(BindingHandle, ClientContext, ClientDispatch);
    if (Client == nullptr) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    *ProviderBindingContext = Client;
    *ProviderDispatch = &Dispatch;
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI
DetachClient(_In_ PVOID ProviderBindingContext)
{
    // Nothing here ever calls the client; its own calls of TallyAdd may go on until it is detached as well.
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return STATUS_SUCCESS;
}

VOID NTAPI
CleanupBindingContext(_In_ PVOID ProviderBindingContext)
{
    delete static_cast<TallyClient *>(ProviderBindingContext);
}

const NPIID NpiId = { 0x08003dae, 0xddc6, 0x5bf1, { 0x99, 0x04, 0x8a, 0x0c, 0xeb, 0x33, 0x84, 0x13 } };
const NPI_MODULEID ModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x1d68f2ee, 0xb894, 0x516c, { 0x9f, 0x26, 0x49, 0x8e, 0x44, 0x6a, 0x3f, 0x34 } } }
};

const NPI_PROVIDER_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    AttachClient,
    DetachClient,
    CleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &NpiId, &ModuleId, 0, nullptr }
};

VOID
Unload(_In_ PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }
}

} // namespace

extern "C" DRIVER_INITIALIZE DriverEntry;

extern "C" NTSTATUS
DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = Unload;
    return NmrRegisterProvider(&Characteristics, nullptr, &ProviderHandle);
}
