// The scenario part of a reproducer is edited by people: whatever the text, parsing ends in an error that says where,
// or in a scenario that text, numbers and bytes give back.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/scenario_codec.h"
#include "fuzz/scenario_text.h"

namespace {

using namespace nmrfuzz::fuzz;  // NOLINT: a program of its own

void demand(bool holds) {
  if (!holds) {
    std::abort();
  }
}

// Bytes hold lawful worlds only.
bool is_lawful(nmrfuzz::nmr::World world) {
  for (const nmrfuzz::nmr::Switch& each : nmrfuzz::nmr::switches()) {
    const std::uint8_t variant = each.field(world);
    if (variant != 0 && !each.variants[variant].drawn) {
      return false;
    }
  }
  return true;
}

void demand_numbers_give_back(const ShapedScenario& shaped) {
  std::vector<std::uint16_t> numbers(encode_scenario(shaped.scenario, shaped.shape, {}));
  encode_scenario(shaped.scenario, shaped.shape, numbers);
  std::size_t used = 0;
  demand(decode_scenario(numbers, used) == shaped && used == numbers.size());
}

void demand_bytes_give_back(const ShapedScenario& shaped, const std::string& printed) {
  const std::vector<std::uint8_t> bytes = scenario_to_bytes(shaped.scenario, shaped.shape);
  std::size_t used = 0;
  const Scenario decoded = scenario_from_bytes(bytes, shaped.shape, used);
  demand(used == bytes.size() && print_scenario({shaped.shape, decoded}) == printed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string error;
  const auto parsed = parse_scenario({reinterpret_cast<const char*>(data), size}, error);
  if (!parsed) {
    demand(!error.empty());
    return 0;
  }
  const std::string printed = print_scenario(*parsed);
  demand(parse_scenario(printed, error) == parsed);
  demand_numbers_give_back(*parsed);
  if (is_lawful(parsed->scenario.world)) {
    demand_bytes_give_back(*parsed, printed);
  }
  return 0;
}
