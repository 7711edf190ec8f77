// nmrfuzz: module
// summary: Client in C++ whose guard of the list lock lives until after the completion of a detach.
// provides: 0
// consumes: 1
// expect: deadlock, lock-misuse
// rule: R83
// needs: the last use completes a pending detach whose cleanup runs inside the completion
// interleaving: yes
// hardness: 65 schedules; 1000+ run to completion

// Kernel C++ without exceptions, RTTI or static constructors. What owns something has Start and Stop where it is
// global, a constructor and destructor where it is local.

#include <ntddk.h>
#include <netioddk.h>

namespace {

constexpr ULONG PoolTag = 'yauQ';

class QuayLock final {
public:
    void Initialize() noexcept
    {
        KeInitializeSpinLock(&Lock);
    }

    class Guard final {
    public:
        explicit Guard(QuayLock &TheLock) noexcept : Held(TheLock.Lock)
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
struct QuayBinding final {
    explicit QuayBinding(HANDLE Handle) noexcept : BindingHandle(Handle)
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

    QuayBinding(const QuayBinding &) = delete;
    QuayBinding &operator=(const QuayBinding &) = delete;

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
class QuayBindings final {
public:
    void Initialize() noexcept
    {
        Lock.Initialize();
        InitializeListHead(&List);
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void Add(QuayBinding &Binding) noexcept
    {
        QuayLock::Guard Held(Lock);

        InsertTailList(&List, &Binding.Link);
    }

    // Forbids further uses. Returns whether one is in progress, which will then complete the detach.
    _IRQL_requires_max_(DISPATCH_LEVEL)
    bool BeginDetach(QuayBinding &Binding) noexcept
    {
        QuayLock::Guard Held(Lock);

        Binding.Detaching = true;
        return Binding.UsesInProgress != 0;
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void Remove(QuayBinding &Binding) noexcept
    {
        QuayLock::Guard Held(Lock);

        RemoveEntryList(&Binding.Link);
    }

    // A binding that was not visited before, counted as in use; nullptr if there is none.
    _IRQL_requires_max_(DISPATCH_LEVEL)
    QuayBinding *BeginUse() noexcept
    {
        QuayLock::Guard Held(Lock);

        for (LIST_ENTRY *Entry = List.Flink; Entry != &List; Entry = Entry->Flink) {
            QuayBinding *Binding = CONTAINING_RECORD(Entry, QuayBinding, Link);

            if (!Binding->Visited && !Binding->Detaching) {
                Binding->Visited = true;
                Binding->UsesInProgress++;
                return Binding;
            }
        }
        return nullptr;
    }

    _IRQL_requires_max_(DISPATCH_LEVEL)
    void EndUse(QuayBinding &Binding) noexcept
    {
        const HANDLE BindingHandle = Binding.BindingHandle;
        QuayLock::Guard Held(Lock);

        Binding.UsesInProgress--;
        if (Binding.Detaching && Binding.UsesInProgress == 0) {
            // Defect: the cleanup callback may run in here, and takes the lock to remove the binding.
            NmrClientDetachProviderComplete(BindingHandle);
        }
    }

private:
    QuayLock Lock;
    LIST_ENTRY List;
};

QuayBindings Bindings;

// A use of the next binding that wants one, for a scope.
class QuayUse final {
public:
    QuayUse() noexcept : Binding(Bindings.BeginUse())
    {
    }
    ~QuayUse()
    {
        if (Binding != nullptr) {
            Bindings.EndUse(*Binding);
        }
    }
    QuayUse(const QuayUse &) = delete;
    QuayUse &operator=(const QuayUse &) = delete;

    explicit operator bool() const noexcept
    {
        return Binding != nullptr;
    }
    QuayBinding *operator->() const noexcept
    {
        return Binding;
    }

private:
    QuayBinding *const Binding;
};

// The thread that visits bindings.
class QuayThread final {
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
        auto *Self = static_cast<QuayThread *>(Context);

        while (InterlockedCompareExchange(&Self->Stopping, 0, 0) == 0) {
            KeWaitForSingleObject(&Self->WakeEvent, Executive, KernelMode, FALSE, nullptr);
            while (VisitOne()) {
            }
        }
    }

    static bool VisitOne() noexcept
    {
        QuayUse Use;

        if (Use) {
            InterlockedIncrement(&Use->Visits);
        }
        return static_cast<bool>(Use);
    }

    PKTHREAD Thread;
    KEVENT WakeEvent;
    LONG Stopping;
};

QuayThread Visitor;

NTSTATUS NTAPI
AttachProvider(_In_ HANDLE BindingHandle, _In_ PVOID ClientContext, _In_ PNPI_REGISTRATION_INSTANCE ProviderInstance)
{
    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderInstance);

    auto *Binding = new QuayBinding(BindingHandle);
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
    return Bindings.BeginDetach(*static_cast<QuayBinding *>(ClientBindingContext)) ? STATUS_PENDING : STATUS_SUCCESS;
}

VOID NTAPI
CleanupBindingContext(_In_ PVOID ClientBindingContext)
{
    auto *Binding = static_cast<QuayBinding *>(ClientBindingContext);

    Bindings.Remove(*Binding);
    delete Binding;
}

const NPIID NpiId = { 0x7d24b610, 0x803e, 0x5c74, { 0xa4, 0x62, 0x00, 0xe9, 0x35, 0x1a, 0x82, 0xaf } };
const NPI_MODULEID ModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xda37c187, 0xf534, 0x5b3e, { 0x99, 0x74, 0x46, 0x28, 0xf1, 0xe6, 0x32, 0xea } } }
};

const NPI_CLIENT_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AttachProvider,
    DetachProvider,
    CleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &NpiId, &ModuleId, 0, nullptr }
};

class QuayRegistration final {
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

QuayRegistration Registration;

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
