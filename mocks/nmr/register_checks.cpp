#include "nmr/register_checks.h"

#include <cstddef>
#include <cstring>

namespace nmrfuzz::nmr {

using kernel::Kernel;
using kernel::Outcome;
using kernel::Routine;

namespace {

// The layout that RegisteredData reads.
static_assert(sizeof(NPI_CLIENT_CHARACTERISTICS) == RegisteredData::kStructureWords * 8);
static_assert(sizeof(NPI_PROVIDER_CHARACTERISTICS) == RegisteredData::kStructureWords * 8);
static_assert(offsetof(NPI_CLIENT_CHARACTERISTICS, ClientRegistrationInstance.NpiId) == RegisteredData::kNpiIdWord * 8);
static_assert(offsetof(NPI_CLIENT_CHARACTERISTICS, ClientRegistrationInstance.ModuleId) ==
              RegisteredData::kModuleIdWord * 8);
static_assert(offsetof(NPI_PROVIDER_CHARACTERISTICS, ProviderRegistrationInstance.Number) ==
              RegisteredData::kNumberWord * 8);
static_assert(sizeof(NPIID) == RegisteredData::kNpiWords * 8);
static_assert(sizeof(NPI_MODULEID) == RegisteredData::kModuleWords * 8);

bool is_one_of_its_functions(Kernel& kernel, const void* function) {
  return kernel.is_code(kernel.thread_state().module, function);
}

bool check_callbacks(Kernel& kernel, Routine routine, const Callbacks& callbacks) {
  if (callbacks.attach == nullptr || callbacks.detach == nullptr) {
    kernel.breach(routine, Outcome::kMissingCallback);
    return false;
  }
  if (!is_one_of_its_functions(kernel, callbacks.attach) || !is_one_of_its_functions(kernel, callbacks.detach)) {
    kernel.breach(routine, Outcome::kForeignCallback);
    return false;
  }
  if (callbacks.cleanup != nullptr && !is_one_of_its_functions(kernel, callbacks.cleanup)) {
    kernel.breach(routine, Outcome::kForeignCleanup);
    return false;
  }
  return true;
}

// A missing identifier can be worked with.
bool check_module_id(Kernel& kernel, Routine routine, const NPI_MODULEID* id) {
  if (id == nullptr) {
    kernel.breach(routine, Outcome::kMissingModuleId);
    return true;
  }
  if (!kernel.probe(routine, id, sizeof *id)) {
    return false;
  }
  if (id->Length != sizeof *id || (id->Type != MIT_GUID && id->Type != MIT_IF_LUID)) {
    kernel.breach(routine, Outcome::kWrongModuleId);
  }
  return true;
}

}  // namespace

bool read_characteristics(Kernel& kernel, Routine routine, const Given& given, Characteristics& read) {
  const NPI_REGISTRATION_INSTANCE& instance = *given.instance;
  if (given.version != 0) {
    kernel.breach(routine, Outcome::kWrongVersion);
  }
  if (given.length != given.size) {
    kernel.breach(routine, Outcome::kWrongLength);
  }
  if (!check_callbacks(kernel, routine, given.callbacks)) {
    return false;
  }
  if (instance.Version != 0) {
    kernel.breach(routine, Outcome::kWrongInstanceVersion);
  }
  if (instance.Size != sizeof instance) {
    kernel.breach(routine, Outcome::kWrongInstanceSize);
  }
  if (instance.NpiId == nullptr) {
    kernel.breach(routine, Outcome::kMissingNpiId);
    return false;
  }
  if (!kernel.probe(routine, instance.NpiId, sizeof *instance.NpiId) ||
      !check_module_id(kernel, routine, instance.ModuleId)) {
    return false;
  }
  read.structure = given.structure;
  read.instance = &instance;
  read.npi_id = instance.NpiId;
  read.module_id = instance.ModuleId;
  std::memcpy(read.npi.data(), instance.NpiId, sizeof(GUID));
  read.callbacks = given.callbacks;
  // The instance's Version modules use for their own purposes.
  read.sizes_are_right = given.version == 0 && given.length == given.size && instance.Size == sizeof instance;
  return true;
}

bool is_on_this_stack(Kernel& kernel, const void* variable) {
  const schedule::Fiber& fiber = kernel.scheduler().current().fiber;
  const auto low = reinterpret_cast<std::uintptr_t>(fiber.stack_low());
  return reinterpret_cast<std::uintptr_t>(variable) - low < fiber.stack_size();
}

}  // namespace nmrfuzz::nmr
