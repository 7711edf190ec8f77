// Reproducers are edited by people and sent around: whatever the text, parsing ends in a clear error or in a reproducer
// that prints and parses to itself.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "fuzz/reproducer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nmrfuzz::fuzz;
  std::string error;
  const auto parsed = parse_reproducer({reinterpret_cast<const char*>(data), size}, "input", error);
  if (!parsed) {
    if (!error.starts_with("input:")) {
      std::abort();
    }
    return 0;
  }
  const auto again = parse_reproducer(print(*parsed), "printed", error);
  if (again != parsed) {
    std::abort();
  }
  return 0;
}
