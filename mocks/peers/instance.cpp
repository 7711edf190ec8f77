#include "peers/instance.h"

#include <ntddk.h>

#include <netioddk.h>

#include <cstring>

namespace nmrfuzz::peers {

// An instance with everything that it points to.
struct Instances::Shown {
  GUID npi{};
  NPI_MODULEID module{};
  NPI_REGISTRATION_INSTANCE instance{};
};

Instances::Instances() = default;
Instances::~Instances() = default;

const void* Instances::of(nmr::Role role, const std::array<std::uint64_t, 2>& npi) {
  const Key key{role, npi};
  if (last_ != nullptr && key == last_key_) {
    return last_;
  }
  std::unique_ptr<Shown>& shown = shown_[key];
  if (shown == nullptr) {
    shown = std::make_unique<Shown>();
    std::memcpy(&shown->npi, npi.data(), sizeof(GUID));
    shown->module.Length = sizeof(NPI_MODULEID);
    shown->module.Type = MIT_GUID;
    shown->module.Guid = shown->npi;
    // Not the module's own identifier, and another one for each role.
    shown->module.Guid.Data4[7] ^= role == nmr::Role::kClient ? 0x5a : 0xa5;
    shown->instance.Size = sizeof(NPI_REGISTRATION_INSTANCE);
    shown->instance.NpiId = &shown->npi;
    shown->instance.ModuleId = &shown->module;
  }
  last_key_ = key;
  last_ = &shown->instance;
  return last_;
}

}  // namespace nmrfuzz::peers
