// registrar_fuzzer.cpp - libFuzzer target: the registrar alone, its life and its schedule from one byte string, beside
// the reference model. What they disagree on is a fault of one of the two, and ends the run with the events that led to
// it.
#include <cstdio>
#include <cstdlib>

#include "fuzz/event_text.h"
#include "nmr/registrar_scenario.h"
#include "schedule/byte_source.h"

namespace nmrfuzz::nmr {
namespace {

[[noreturn]] void report(const RegistrarBench& bench, const World& world, const std::vector<std::string>& complaints) {
  for (std::uint64_t i = bench.recorder.first(); i < bench.recorder.size(); ++i) {
    std::fprintf(stderr, "%s\n", fuzz::line_of(bench.recorder.at(i), i).c_str());
  }
  std::fprintf(stderr, "world: %s\n", text_of(world).c_str());
  for (const std::string& complaint : complaints) {
    std::fprintf(stderr, "registrar and contract disagree: %s\n", complaint.c_str());
  }
  std::abort();
}

}  // namespace
}  // namespace nmrfuzz::nmr

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nmrfuzz;  // NOLINT: the entry point of the engine
  static nmr::RegistrarBench bench;
  nmr::RegistrarScenario scenario(bench);
  schedule::ByteSource strategy({data, size});
  const std::vector<std::string> complaints = scenario.run(strategy, 0);
  if (!complaints.empty()) {
    nmr::report(bench, scenario.world, complaints);
  }
  return 0;
}
