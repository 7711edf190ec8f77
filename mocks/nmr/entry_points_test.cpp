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
NPI_MODULEID module_id = {sizeof(NPI_MODULEID), MIT_GUID, {{5, 6, 7, {8}}}};

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
    globals.client.ClientRegistrationInstance.ModuleId = &module_id;
    globals.provider.Length = sizeof globals.provider;
    globals.provider.ProviderAttachClient = attach_provider;
    globals.provider.ProviderDetachClient = detach;
    globals.provider.ProviderCleanupBindingContext = clean_up_provider;
    globals.provider.ProviderRegistrationInstance.Size = sizeof(NPI_REGISTRATION_INSTANCE);
    globals.provider.ProviderRegistrationInstance.NpiId = &npi_id;
    globals.provider.ProviderRegistrationInstance.ModuleId = &module_id;
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

// A field that is not as documented, what is said of it, and whether there is a registration all the same (A21).
struct Field {
  const char* name;
  void (*spoil)(NPI_CLIENT_CHARACTERISTICS& client);
  Outcome outcome;
  bool registered;
};
NPI_MODULEID spoilt_id;
const Field kFields[] = {
    {"Version", [](auto& client) { client.Version = 1; }, Outcome::kWrongVersion, true},
    {"Length", [](auto& client) { client.Length = 71; }, Outcome::kWrongLength, true},
    {"attach", [](auto& client) { client.ClientAttachProvider = nullptr; }, Outcome::kMissingCallback, false},
    {"detach", [](auto& client) { client.ClientDetachProvider = nullptr; }, Outcome::kMissingCallback, false},
    {"instance Version", [](auto& client) { client.ClientRegistrationInstance.Version = 1; },
     Outcome::kWrongInstanceVersion, true},
    {"instance Size", [](auto& client) { client.ClientRegistrationInstance.Size = 0; }, Outcome::kWrongInstanceSize,
     true},
    {"NpiId", [](auto& client) { client.ClientRegistrationInstance.NpiId = nullptr; }, Outcome::kMissingNpiId, false},
    {"ModuleId", [](auto& client) { client.ClientRegistrationInstance.ModuleId = nullptr; }, Outcome::kMissingModuleId,
     true},
    {"ModuleId's Length",
     [](auto& client) {
       spoilt_id = {1, MIT_GUID, {}};
       client.ClientRegistrationInstance.ModuleId = &spoilt_id;
     },
     Outcome::kWrongModuleId, true},
    {"ModuleId's Type",
     [](auto& client) {
       spoilt_id = {sizeof(NPI_MODULEID), static_cast<NPI_MODULEID_TYPE>(3), {}};
       client.ClientRegistrationInstance.ModuleId = &spoilt_id;
     },
     Outcome::kWrongModuleId, true},
};

TEST_F(EntryPoints, FieldsAreCheckedAndWhatCanBeUsedIsRegistered) {
  const NPI_CLIENT_CHARACTERISTICS good = globals.client;
  for (const Field& each : kFields) {
    registrar_.reset({});
    globals.client = good;
    each.spoil(globals.client);
    EXPECT_EQ(outcomes_of([] { NmrRegisterClient(&globals.client, nullptr, &globals.client_handle); }),
              std::vector<Outcome>{each.outcome})
        << each.name;
    EXPECT_EQ(registrar_.registrations(), each.registered ? 1U : 0U) << each.name;
  }
}

TEST_F(EntryPoints, CallbacksLieInTheCodeOfTheModule) {
  const auto begin = reinterpret_cast<std::uintptr_t>(&attach_client);
  kernel.set_code(kModule, begin, begin + 1);
  globals.client.ClientDetachProvider =
      reinterpret_cast<NPI_CLIENT_DETACH_PROVIDER_FN*>(reinterpret_cast<void*>(&attach_client));
  EXPECT_EQ(outcomes_of([] { NmrRegisterClient(&globals.client, nullptr, &globals.client_handle); }),
            std::vector<Outcome>{Outcome::kForeignCleanup});
  globals.client.ClientCleanupBindingContext = nullptr;
  EXPECT_EQ(outcomes_of([] { NmrRegisterClient(&globals.client, nullptr, &globals.client_handle); }),
            std::vector<Outcome>());
  globals.client.ClientDetachProvider = detach;
  registrar_.reset({});
  EXPECT_EQ(outcomes_of([] { NmrRegisterClient(&globals.client, nullptr, &globals.client_handle); }),
            std::vector<Outcome>{Outcome::kForeignCallback});
}

// What is changed between Register and the end of the wait, and whether it matters.
struct Change {
  const char* name;
  void (*make)();
  bool matters;
};
NPI_CLIENT_CHARACTERISTICS changing;
NPIID changing_npi;
NPI_MODULEID changing_id;
const Change kChanges[] = {
    {"nothing", [] {}, false},
    {"a callback", [] { changing.ClientDetachProvider = nullptr; }, true},
    {"Number", [] { changing.ClientRegistrationInstance.Number = 9; }, true},
    {"padding", [] { reinterpret_cast<char*>(&changing)[5] ^= 1; }, false},
    {"padding of the instance", [] { reinterpret_cast<char*>(&changing.ClientRegistrationInstance.Number)[5] ^= 1; },
     false},
    {"the pointer to the NPI", [] { changing.ClientRegistrationInstance.NpiId = nullptr; }, true},
    {"the NPI", [] { changing_npi.Data4[7] ^= 1; }, true},
    {"the module identifier", [] { changing_id.Guid.Data4[7] ^= 1; }, true},
    {"padding of the module identifier", [] { reinterpret_cast<char*>(&changing_id)[2] ^= 1; }, false},
};

TEST_F(EntryPoints, WhatIsRegisteredDoesNotChange) {
  for (const Change& each : kChanges) {
    registrar_.reset({});
    changing = globals.client;
    changing_npi = npi_id;
    changing_id = module_id;
    changing.ClientRegistrationInstance.NpiId = &changing_npi;
    changing.ClientRegistrationInstance.ModuleId = &changing_id;
    const auto life = [&each] {
      NmrRegisterClient(&changing, nullptr, &globals.client_handle);
      each.make();
      NmrDeregisterClient(globals.client_handle);
      NmrWaitForClientDeregisterComplete(globals.client_handle);
    };
    EXPECT_EQ(outcomes_of(life),
              each.matters ? std::vector<Outcome>{Outcome::kCharacteristicsChanged} : std::vector<Outcome>())
        << each.name;
  }
}

TEST_F(EntryPoints, RegistrationsAreToldApart) {
  static NPI_CLIENT_CHARACTERISTICS second;
  static HANDLE other_handle;
  second = globals.client;
  const auto both = [](NPI_CLIENT_CHARACTERISTICS& next, HANDLE* handle) {
    NmrRegisterClient(&globals.client, nullptr, &globals.client_handle);
    NmrRegisterClient(&next, nullptr, handle);
  };
  EXPECT_EQ(outcomes_of([&] { both(second, &other_handle); }), std::vector<Outcome>{Outcome::kSameNumber});
  registrar_.reset({});
  second.ClientRegistrationInstance.Number = 1;
  EXPECT_EQ(outcomes_of([&] { both(second, &other_handle); }), std::vector<Outcome>());
  registrar_.reset({});
  EXPECT_EQ(outcomes_of([&] { both(second, &globals.client_handle); }),
            std::vector<Outcome>{Outcome::kHandleOverwritten});
  registrar_.reset({});
  const std::vector<Outcome> shared = {Outcome::kCharacteristicsShared, Outcome::kSameNumber};
  EXPECT_EQ(outcomes_of([&] { both(globals.client, &other_handle); }), shared);
  registrar_.reset({});
  EXPECT_EQ(outcomes_of([&] {
              HANDLE local = nullptr;  // is copied before the next one, for all that anybody knows
              NmrRegisterClient(&globals.client, nullptr, &local);
              NmrRegisterClient(&second, nullptr, &local);
            }),
            std::vector<Outcome>());
}

}  // namespace
}  // namespace nmrfuzz::nmr
