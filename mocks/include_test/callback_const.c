// callback_const.c - a callback whose parameters differ in const from its slot compiles (with a warning, no more).
#include <ntddk.h>
#include <netioddk.h>

static NTSTATUS Attach(HANDLE Binding, PVOID Context, NPI_REGISTRATION_INSTANCE *Instance, PVOID ClientContext,
                       const VOID *Dispatch, VOID **ProviderContext, VOID **ProviderDispatch) {
    (void)Binding, (void)Context, (void)Instance, (void)ClientContext, (void)Dispatch;
    *ProviderContext = NULL;
    *ProviderDispatch = NULL;
    return STATUS_NOINTERFACE;
}
static NTSTATUS Detach(const void *Context) { return Context == NULL ? STATUS_SUCCESS : STATUS_PENDING; }
const NPI_PROVIDER_CHARACTERISTICS Characteristics = {0, sizeof(Characteristics), Attach, Detach};
static void Work(const void *Context) { (void)Context; }
void Queue(WORK_QUEUE_ITEM *Item) {
    ExInitializeWorkItem(Item, Work, NULL);
    ExQueueWorkItem(Item, DelayedWorkQueue);
}
