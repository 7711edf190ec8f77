// instance.h - the registration instances that peers show to modules: well formed, constant, one for each NPI and role.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "nmr/states.h"

namespace nmrfuzz::peers {

// NPIs are few and the same in every execution, so each instance is made once and kept.
class Instances {
 public:
  Instances();
  ~Instances();

  // The NPI_REGISTRATION_INSTANCE of a peer of that role and NPI; valid as long as this object.
  const void* of(nmr::Role role, const std::array<std::uint64_t, 2>& npi);

 private:
  struct Shown;
  using Key = std::pair<nmr::Role, std::array<std::uint64_t, 2>>;

  std::map<Key, std::unique_ptr<Shown>> shown_;
  Key last_key_;  // of what was asked for last: mostly it is asked for again
  const void* last_ = nullptr;
};

}  // namespace nmrfuzz::peers
