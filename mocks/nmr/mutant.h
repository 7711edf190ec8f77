// mutant.h - the ways in which a test may break the registrar, to see that its judges notice.
//
// The registrar asks is_mutant() at the one condition that a mutant changes. A port that has no member `mutant` makes
// every question a constant false: the product contains none of this.
#pragma once

#include <cstdint>

namespace nmrfuzz::nmr {

enum class Mutant : std::uint8_t {
  kNone,
#define NMRFUZZ_MUTANT(name, broken) name,
#include "nmr/mutants.def"
#undef NMRFUZZ_MUTANT
};

}  // namespace nmrfuzz::nmr
