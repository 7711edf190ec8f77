// access_kind.h - how a module's code touched memory, as its source says it.
#pragma once

#include <cstdint>

namespace nmrfuzz::race {

enum class AccessKind : std::uint8_t {
  kPlain,
  kVolatile,    // through a volatile lvalue
  kInterlocked  // an atomic operation, loads and stores of atomic objects included
};

}  // namespace nmrfuzz::race
