// A correct module with many NPIs under executions that the input decides, scenario first: no rule may be broken. The
// module has eight NPIs, each with a registration, lock and bindings of its own.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fuzz/build_and_load.h"
#include "fuzz/corpus.h"
#include "fuzz/engine.h"
#include "fuzz/scenario_codec.h"
#include "schedule/byte_source.h"

namespace {

using namespace nmrfuzz;  // NOLINT: a program of its own

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "many_npi_fuzzer: %s\n", why.c_str());
  std::abort();
}

std::unique_ptr<module::Image> load_module() {
  auto loaded =
      fuzz::build_and_load({fuzz::corpus_folder() + "/correct/many-npi.c"}, {"-DNPI_COUNT=8", "-DNPI_ROLES=NPI_BOTH"});
  if (const auto* failure = std::get_if<std::string>(&loaded)) {
    give_up(*failure);
  }
  return std::get<std::unique_ptr<module::Image>>(std::move(loaded));
}

// The module and its engine, made once.
class Fixture {
 public:
  Fixture() { engine_.emplace(*ring_, *log_, images_, fuzz::Settings{}); }

  void run(std::span<const std::uint8_t> bytes) {
    std::size_t used = 0;
    const fuzz::Scenario scenario = fuzz::scenario_from_bytes(bytes, engine_->shape(), used);
    schedule::ByteSource rest(bytes.subspan(used));
    const fuzz::Execution execution = engine_->run(rest, 0, scenario);
    if (execution.finding) {
      accuse();
    }
  }

 private:
  [[noreturn]] void accuse() {
    const std::vector<std::uint16_t> decisions(log_->view().begin(), log_->view().end());
    const fuzz::Report report = engine_->describe(decisions);
    std::string text = report.kind + " " + report.rule + ": " + report.title + " in world " + report.world;
    for (const std::string& event : report.events) {
      text += "\n  " + event;
    }
    give_up(text);
  }

  std::unique_ptr<trace::EventRing> ring_ = std::make_unique<trace::EventRing>();
  std::unique_ptr<schedule::DecisionLog> log_ = std::make_unique<schedule::DecisionLog>();
  std::unique_ptr<module::Image> image_ = load_module();
  std::vector<module::Image*> images_ = {image_.get()};
  std::optional<fuzz::Engine> engine_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Fixture fixture;
  fixture.run({data, size});
  return 0;
}
