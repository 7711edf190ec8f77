#include "nmr/registrar.h"

#include <utility>

#include "nmr/fiber_port.h"

namespace nmrfuzz::nmr {

template class Registrar<FiberPort>;

namespace {
FiberRegistrar* registrar_in_force = nullptr;
}

FiberRegistrar& current_registrar() { return *registrar_in_force; }

FiberRegistrar* set_current_registrar(FiberRegistrar* registrar) {
  return std::exchange(registrar_in_force, registrar);
}

}  // namespace nmrfuzz::nmr
