// entry_points_test.cpp - the nine functions of netioddk.h as a module calls them: IRQL, pointers, statuses, a whole
// life.
#include <ntddk.h>

#include <netioddk.h>

#include <gtest/gtest.h>

#include "kernel/kernel_fixture.h"
#include "nmr/fiber_port.h"

namespace nmrfuzz::nmr {
namespace {

using kernel::Outcome;

NPIID npi_id = {1, 2, 3, {4}};

struct Globals {
  NPI_CLIENT_CHARACTERISTICS client;
  NPI_PROVIDER_CHARACTERISTICS provider;
  HANDLE client_handle, provider_handle, binding_at_client, binding_at_provider;
  int client_context, provider_context;  // their addresses are the binding contexts
  int client_cleanups, provider_cleanups;
} globals;

NTSTATUS NTAPI attach_client(HANDLE binding, PVOID context, PNPI_REGISTRATION_INSTANCE instance) {
  EXPECT_EQ(instance, &globals.provider.ProviderRegistrationInstance);
  EXPECT_EQ(context, &globals.client);
  globals.binding_at_client = binding;
  PVOID provider_context = nullptr;
  const void* provider_dispatch = nullptr;
  const NTSTATUS status =
      NmrClientAttachProvider(binding, &globals.client_context, &npi_id, &provider_context, &provider_dispatch);
  EXPECT_EQ(provider_context, &globals.provider_context);
  EXPECT_EQ(provider_dispatch, &globals);
  return status;
}
NTSTATUS NTAPI attach_provider(HANDLE binding, PVOID context, PNPI_REGISTRATION_INSTANCE instance, PVOID client_context,
                               const void* client_dispatch, PVOID* context_output, const void** dispatch_output) {
  EXPECT_EQ(instance, &globals.client.ClientRegistrationInstance);
  EXPECT_EQ(context, nullptr);
  EXPECT_EQ(client_context, &globals.client_context);
  EXPECT_EQ(client_dispatch, &npi_id);
  globals.binding_at_provider = binding;
  *context_output = &globals.provider_context;
  *dispatch_output = &globals;
  return 0;
}
NTSTATUS NTAPI detach(PVOID) { return kernel::kStatusPending; }
void NTAPI clean_up_client(PVOID context) {
  EXPECT_EQ(context, &globals.client_context);
  ++globals.client_cleanups;
}
void NTAPI clean_up_provider(PVOID context) {
  EXPECT_EQ(context, &globals.provider_context);
  ++globals.provider_cleanups;
}

class EntryPoints : public kernel::KernelFixture {
 protected:
  EntryPoints() : previous_(set_current_registrar(&registrar_)) {
    globals = {};
    globals.client.Length = sizeof globals.client;
    globals.client.ClientAttachProvider = attach_client;
    globals.client.ClientDetachProvider = detach;
    globals.client.ClientCleanupBindingContext = clean_up_client;
    globals.client.ClientRegistrationInstance.Size = sizeof(NPI_REGISTRATION_INSTANCE);
    globals.client.ClientRegistrationInstance.NpiId = &npi_id;
    globals.provider.Length = sizeof globals.provider;
    globals.provider.ProviderAttachClient = attach_provider;
    globals.provider.ProviderDetachClient = detach;
    globals.provider.ProviderCleanupBindingContext = clean_up_provider;
    globals.provider.ProviderRegistrationInstance.Size = sizeof(NPI_REGISTRATION_INSTANCE);
    globals.provider.ProviderRegistrationInstance.NpiId = &npi_id;
  }
  ~EntryPoints() override { set_current_registrar(previous_); }

  FiberRegistrar registrar_{FiberPort(kernel)};

 private:
  FiberRegistrar* previous_;
};

TEST_F(EntryPoints, AWholeLife) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    registrar_.reset({});
    globals.client_cleanups = globals.provider_cleanups = 0;
    const schedule::EndReason reason = run(seed, [] {
      EXPECT_EQ(NmrRegisterProvider(&globals.provider, nullptr, &globals.provider_handle), 0);
      EXPECT_EQ(NmrRegisterClient(&globals.client, &globals.client, &globals.client_handle), 0);
      EXPECT_EQ(globals.binding_at_client, globals.binding_at_provider);
      EXPECT_EQ(NmrDeregisterProvider(globals.provider_handle), kernel::kStatusPending);
      NmrProviderDetachClientComplete(globals.binding_at_provider);
      EXPECT_EQ(globals.client_cleanups, 0);
      NmrClientDetachProviderComplete(globals.binding_at_client);
      EXPECT_EQ(NmrWaitForProviderDeregisterComplete(globals.provider_handle), 0);
      EXPECT_EQ(NmrDeregisterClient(globals.client_handle), kernel::kStatusPending);
      EXPECT_EQ(NmrWaitForClientDeregisterComplete(globals.client_handle), 0);
    });
    EXPECT_EQ(reason, schedule::EndReason::kAllEnded);
    EXPECT_EQ(globals.client_cleanups, 1);
    EXPECT_EQ(globals.provider_cleanups, 1);
    EXPECT_EQ(outcomes(), std::vector<Outcome>());
  }
}

// Each entry point with its highest IRQL, called with a handle of nothing.
struct Call {
  const char* name;
  std::uint8_t highest;
  void (*call)();
};
const Call kCalls[] = {
    {"NmrRegisterClient", PASSIVE_LEVEL,
     [] { NmrRegisterClient(&globals.client, &globals.client, &globals.client_handle); }},
    {"NmrRegisterProvider", PASSIVE_LEVEL,
     [] { NmrRegisterProvider(&globals.provider, nullptr, &globals.provider_handle); }},
    {"NmrDeregisterClient", DISPATCH_LEVEL, [] { NmrDeregisterClient(nullptr); }},
    {"NmrDeregisterProvider", DISPATCH_LEVEL, [] { NmrDeregisterProvider(nullptr); }},
    {"NmrWaitForClientDeregisterComplete", APC_LEVEL, [] { NmrWaitForClientDeregisterComplete(nullptr); }},
    {"NmrWaitForProviderDeregisterComplete", APC_LEVEL, [] { NmrWaitForProviderDeregisterComplete(nullptr); }},
    {"NmrClientAttachProvider", PASSIVE_LEVEL,
     [] {
       PVOID context = nullptr;
       const void* dispatch = nullptr;
       NmrClientAttachProvider(nullptr, nullptr, nullptr, &context, &dispatch);
     }},
    {"NmrClientDetachProviderComplete", DISPATCH_LEVEL, [] { NmrClientDetachProviderComplete(nullptr); }},
    {"NmrProviderDetachClientComplete", DISPATCH_LEVEL, [] { NmrProviderDetachClientComplete(nullptr); }},
};

TEST_F(EntryPoints, HighestIrql) {
  for (const Call& each : kCalls) {
    for (std::uint8_t irql = PASSIVE_LEVEL; irql <= DISPATCH_LEVEL + 1; ++irql) {
      registrar_.reset({});
      const std::vector<Outcome> expected =
          irql > each.highest ? std::vector<Outcome>{Outcome::kIrqlTooHigh} : std::vector<Outcome>{};
      EXPECT_EQ(outcomes_of(each.call, irql), expected) << each.name << " at IRQL " << int{irql};
    }
  }
}

TEST_F(EntryPoints, PointersAreCheckedBeforeUse) {
  const std::pair<const char*, void (*)()> calls[] = {
      {"no characteristics", [] { NmrRegisterClient(nullptr, nullptr, &globals.client_handle); }},
      {"no characteristics", [] { NmrRegisterProvider(nullptr, nullptr, &globals.client_handle); }},
      {"no handle", [] { NmrRegisterClient(&globals.client, nullptr, nullptr); }},
      {"no handle", [] { NmrRegisterProvider(&globals.provider, nullptr, nullptr); }},
      {"no NPI",
       [] {
         globals.client.ClientRegistrationInstance.NpiId = nullptr;
         NmrRegisterClient(&globals.client, nullptr, &globals.client_handle);
         globals.client.ClientRegistrationInstance.NpiId = &npi_id;
       }},
      {"no attach callback",
       [] {
         globals.client.ClientAttachProvider = nullptr;
         NmrRegisterClient(&globals.client, nullptr, &globals.client_handle);
         globals.client.ClientAttachProvider = attach_client;
       }},
      {"no detach callback",
       [] {
         globals.provider.ProviderDetachClient = nullptr;
         NmrRegisterProvider(&globals.provider, nullptr, &globals.provider_handle);
         globals.provider.ProviderDetachClient = detach;
       }},
      {"no context output",
       [] {
         const void* dispatch = nullptr;
         NmrClientAttachProvider(nullptr, nullptr, nullptr, nullptr, &dispatch);
       }},
      {"no dispatch output",
       [] {
         PVOID context = nullptr;
         NmrClientAttachProvider(nullptr, nullptr, nullptr, &context, nullptr);
       }},
  };
  for (const auto& [what, call] : calls) {
    registrar_.reset({});
    EXPECT_EQ(outcomes_of(call), std::vector<Outcome>{Outcome::kNullArgument}) << what;
    EXPECT_EQ(registrar_.registrations(), 0U) << what;
  }
}

}  // namespace
}  // namespace nmrfuzz::nmr
