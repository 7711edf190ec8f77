// blunt.h - how a test makes the rules overlook breaches of one of them, to see that a run without that rule is
// noticed.
//
// Only the program of fuzz/CMakeLists.txt that is built for that test has NMRFUZZ_BLUNT; there the environment names
// the rule. Everywhere else the question is a constant false, and the product contains none of this.
#pragma once

#include <cstdlib>
#include <string_view>

namespace nmrfuzz::contract {

#if defined(NMRFUZZ_BLUNT)
inline bool is_blunt(std::string_view rule) {
  const char* const blunt = std::getenv("NMRFUZZ_BLUNT_RULE");
  return blunt != nullptr && rule == blunt;
}
#else
constexpr bool is_blunt(std::string_view) { return false; }
#endif

}  // namespace nmrfuzz::contract
