// nmrfuzz: module
// summary: Client in C++ that starts uses of bindings whose detach has begun, as they leave the list only in cleanup.
// provides: 0
// consumes: 1
// expect: use-after-free, bad-call, bad-handle
// rule: R88, R61
// needs: a use begins between the detach callback and the cleanup of its binding
// interleaving: yes
// hardness: 85 schedules; 4 run to completion

// Kernel C++ without exceptions, RTTI or static constructors. What owns something has Start and Stop where it is
// global, a constructor and destructor where it is local. No lock is held where a destructor may complete a detach.

#include <ntddk.h>
#include <netioddk.h>

namespace {

constexpr ULONG PoolTag = 'fhaW';

class WharfLock final {
public:
    void Initialize() noexcept
    {
        KeInitializeSpinLock(&Lock);
    }

    class Guard final {
    public:
        explicit Guard(WharfLock &TheLock) noexcept : Held(TheLock.Lock)
        {
            KeAcquireSpinLock(&Held, &OldIrql);
        }
        ~Guard()
        {
            KeReleaseSpinLock(&Held, OldIrql);
        }
        Guard(const Guard &) = delete;
        Guard &operator=(const Guard &) = delete;

    private:
        KSPIN_LOCK &Held;
        KIRQL OldIrql;
    };

private:
    KSPIN_LOCK Lock;
};

// One attached provider, or one that is about to be.
struct WharfBinding final {
    explicit WharfBinding(HANDLE Handle) noexcept : BindingHandle(Handle)
    {
    }

    LIST_ENTRY Link{};
    const HANDLE BindingHandle;
    PVOID ProviderContext = nullptr;
    const VOID *ProviderDispatch = nullptr;
    ULONG UsesInProgress = 0;
    bool Visited = false;
    bool Detaching = false;
    LONG Visits = 0;

    WharfBinding(const WharfBinding &) = delete;
    WharfBinding &operator=(const WharfBinding &) = delete;

    static void *operator new(size_t Size) noexcept
    {
        return ExAllocatePool2(POOL_FLAG_NON_PAGED, Size, PoolTag);
    }
    static void operator delete(void *Block) noexcept
    {
        ExFreePoolWithTag(Block, PoolTag);
    }
};

// All bindings of the driver.
class WharfBindings final {
public:
    void Initialize() noexcept
    {
        Lock.Initialize();
        InitializeListHead(&List);
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void Add(WharfBinding &Binding) noexcept
    {
        WharfLock::Guard Held(Lock);

        InsertTailList(&List, &Binding.Link);
    }

    // Forbids further uses. Returns whether one is in progress, which will then complete the detach.
    _IRQL_requires_max_(DISPATCH_LEVEL)
    bool BeginDetach(WharfBinding &Binding) noexcept
    {
        WharfLock::Guard Held(Lock);

        Binding.Detaching = true;
        return Binding.UsesInProgress != 0;
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void Remove(WharfBinding &Binding) noexcept
    {
        WharfLock::Guard Held(Lock);

        RemoveEntryList(&Binding.Link);
    }

    // A binding that was not visited before, counted as in use; nullptr if there is none.
    _IRQL_requires_max_(DISPATCH_LEVEL)
    WharfBinding *BeginUse() noexcept
    {
        WharfLock::Guard Held(Lock);

        for (LIST_ENTRY *Entry = List.Flink; Entry != &List; Entry = Entry->Flink) {
            WharfBinding *Binding = CONTAINING_RECORD(Entry, WharfBinding, Link);

            // Defect: a binding that is detaching has nobody who would wait for this use.
            if (!Binding->Visited) {
                Binding->Visited = true;
                Binding->UsesInProgress++;
                return Binding;
            }
        }
        return nullptr;
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void EndUse(WharfBinding &Binding) noexcept
    {
        const HANDLE BindingHandle = Binding.BindingHandle;
        bool Last;

        {
            WharfLock::Guard Held(Lock);

            Binding.UsesInProgress--;
            Last = Binding.Detaching && Binding.UsesInProgress == 0;
        }
        // The cleanup callback may run in here, and takes the lock to remove the binding.
        if (Last) {
            NmrClientDetachProviderComplete(BindingHandle);
        }
    }

private:
    WharfLock Lock;
    LIST_ENTRY List;
};

WharfBindings Bindings;

// A use of the next binding that wants one, for a scope.
class WharfUse final {
public:
    WharfUse() noexcept : Binding(Bindings.BeginUse())
    {
    }
    ~WharfUse()
    {
        if (Binding != nullptr) {
            Bindings.EndUse(*Binding);
        }
    }
    WharfUse(const WharfUse &) = delete;
    WharfUse &operator=(const WharfUse &) = delete;

    explicit operator bool() const noexcept
    {
        return Binding != nullptr;
    }
    WharfBinding *operator->() const noexcept
    {
        return Binding;
    }

private:
    WharfBinding *const Binding;
};

// The thread that visits bindings.
class WharfThread final {
public:
    _IRQL_requires_(PASSIVE_LEVEL)
    NTSTATUS Start() noexcept
    {
        HANDLE ThreadHandle;

        KeInitializeEvent(&WakeEvent, SynchronizationEvent, FALSE);
        NTSTATUS Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, nullptr, nullptr, nullptr, Run, this);
        if (!NT_SUCCESS(Status)) {
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, nullptr, KernelMode, reinterpret_cast<PVOID *>(&Thread), nullptr);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
        return Status;
    }

    _IRQL_requires_(PASSIVE_LEVEL)
    void Stop() noexcept
    {
        InterlockedExchange(&Stopping, 1);
        Wake();
        KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, nullptr);
        ObDereferenceObject(Thread);
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void Wake() noexcept
    {
        KeSetEvent(&WakeEvent, IO_NO_INCREMENT, FALSE);
    }

private:
    static VOID Run(_In_ PVOID Context)
    {
        auto *Self = static_cast<WharfThread *>(Context);

        while (InterlockedCompareExchange(&Self->Stopping, 0, 0) == 0) {
            KeWaitForSingleObject(&Self->WakeEvent, Executive, KernelMode, FALSE, nullptr);
            while (VisitOne()) {
            }
        }
    }

    static bool VisitOne() noexcept
    {
        WharfUse Use;

        if (Use) {
            InterlockedIncrement(&Use->Visits);
        }
        return static_cast<bool>(Use);
    }

    PKTHREAD Thread;
    KEVENT WakeEvent;
    LONG Stopping;
};

WharfThread Visitor;

NTSTATUS NTAPI
AttachProvider(_In_ HANDLE BindingHandle, _In_ PVOID ClientContext, _In_ PNPI_REGISTRATION_INSTANCE ProviderInstance)
{
    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderInstance);

    auto *Binding = new WharfBinding(BindingHandle);
    if (Binding == nullptr) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    const NTSTATUS Status = NmrClientAttachProvider(
        BindingHandle, Binding, nullptr, &Binding->ProviderContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        delete Binding;
        return Status;
    }

    Bindings.Add(*Binding);
    Visitor.Wake();
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI
DetachProvider(_In_ PVOID ClientBindingContext)
{
    return Bindings.BeginDetach(*static_cast<WharfBinding *>(ClientBindingContext)) ? STATUS_PENDING : STATUS_SUCCESS;
}

VOID NTAPI
CleanupBindingContext(_In_ PVOID ClientBindingContext)
{
    auto *Binding = static_cast<WharfBinding *>(ClientBindingContext);

    Bindings.Remove(*Binding);
    delete Binding;
}

const NPIID NpiId = { 0x4d5b32f6, 0xe085, 0x58f3, { 0x93, 0x52, 0x6f, 0x47, 0xbe, 0x00, 0x63, 0x3f } };
const NPI_MODULEID ModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc4c49b3c, 0x72c1, 0x5091, { 0xae, 0x50, 0xa4, 0xa0, 0x6c, 0xeb, 0x6e, 0xc8 } } }
};

const NPI_CLIENT_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AttachProvider,
    DetachProvider,
    CleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &NpiId, &ModuleId, 0, nullptr }
};

class WharfRegistration final {
public:
    _IRQL_requires_(PASSIVE_LEVEL)
    NTSTATUS Start() noexcept
    {
        return NmrRegisterClient(&Characteristics, nullptr, &Handle);
    }

    _IRQL_requires_(PASSIVE_LEVEL)
    void Stop() noexcept
    {
        if (NmrDeregisterClient(Handle) == STATUS_PENDING) {
            NmrWaitForClientDeregisterComplete(Handle);
        }
    }

private:
    HANDLE Handle;
};

WharfRegistration Registration;

VOID
Unload(_In_ PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The thread ends last: a pending detach may be waiting for its visit to end.
    Registration.Stop();
    Visitor.Stop();
}

} // namespace

extern "C" DRIVER_INITIALIZE DriverEntry;

extern "C" NTSTATUS
DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = Unload;
    Bindings.Initialize();

    NTSTATUS Status = Visitor.Start();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = Registration.Start();
    if (!NT_SUCCESS(Status)) {
        Visitor.Stop();
    }
    return Status;
}
