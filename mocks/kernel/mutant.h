// mutant.h - the ways in which a test may break the kernel, to see that the kernel's own tests notice.
//
// A routine asks is_mutant() at the one condition that a mutant changes. Only the program of mutants/main.cpp is built
// with NMRFUZZ_KERNEL_MUTANTS; everywhere else every question is a constant false, and the product contains none of
// this. Questions belong into .cpp files: objects of the tests are shared with that program.
#pragma once

#include <cstdint>

namespace nmrfuzz::kernel {

enum class Mutant : std::uint8_t {
  kNone,
#define NMRFUZZ_MUTANT(name, broken) name,
#include "kernel/mutants.def"
#undef NMRFUZZ_MUTANT
};

#if defined(NMRFUZZ_KERNEL_MUTANTS)
inline Mutant mutant_in_force = Mutant::kNone;
inline bool is_mutant(Mutant mutant) { return mutant == mutant_in_force; }
#else
constexpr bool is_mutant(Mutant) { return false; }
#endif

}  // namespace nmrfuzz::kernel
