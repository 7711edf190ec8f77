// `nmrfuzz replay`: run one reproducer again, in one or more builds.
#include <fmt/core.h>

#include <filesystem>

#include "fuzz/commands.h"
#include "fuzz/exit_status.h"
#include "fuzz/json_output.h"
#include "fuzz/output.h"
#include "fuzz/replayer.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

std::string line_of(const ReplayResult& result, const Reproducer& reproducer, module::Variant build) {
  const std::string hash = hash_text(result.hash);
  std::string what;
  switch (result.worst.verdict) {
    case Verdict::kReproduced:
      what = fmt::format("reproduced {} of {}, trace hash {}", result.reproduced, result.times, hash);
      break;
    case Verdict::kMoved:
      what = fmt::format("reproduced in changed sources, along another path: {}", result.worst.text);
      break;
    case Verdict::kReached:
      what =
          fmt::format("reached, not observable in this build ({} of {}), trace hash {}",
                      contract::name_of(reproducer.kind), name_of(reproducer.build), hash_text(reproducer.trace_hash));
      break;
    case Verdict::kGone:
      what = fmt::format("no longer, {} times without the finding, trace hash {}", result.times, hash);
      break;
    case Verdict::kDiverged:
      what = result.worst.text;
      if (result.reproduced != 0) {
        what += fmt::format(" (reproduced {} of {})", result.reproduced, result.times);
      }
      break;
  }
  return fmt::format("{}: {}\n", name_of(build), what);
}

int status_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kReproduced:
    case Verdict::kMoved:
      return kFinding;
    case Verdict::kReached:
    case Verdict::kGone:
      return kClean;
    case Verdict::kDiverged:
      break;
  }
  return kUnusable;
}

class ReplayCommand {
 public:
  ReplayCommand(const ReplayOptions& options, Reproducer reproducer)
      : options_(options), reproducer_(std::move(reproducer)), builds_(options.builds) {
    if (builds_.empty()) {
      builds_.push_back(reproducer_.build);
    }
  }

  int run() {
    std::string error;
    const auto references = replaced_modules(reproducer_, options_.modules, error);
    if (!references) {
      return refuse(error);
    }
    std::vector<module::Variant> variants = builds_;
    if (options_.trace) {
      variants.push_back(module::Variant::kPlain);
    }
    const auto modules =
        resolve_modules(*references, variants, std::filesystem::path(options_.file).parent_path(), error);
    if (!modules) {
      return refuse(error);
    }
    if (options_.trace && !print_trace(*modules, error)) {
      return refuse(error);
    }
    if (modules->source_hash != reproducer_.source_hash) {
      fmt::print(stderr, "nmrfuzz: the sources are not those that the reproducer was made from\n");
    }
    for (const module::Variant build : builds_) {
      if (const int status = run_build(*modules, build); status == kUnusable || status == kHarnessFault) {
        return status;
      }
    }
    return finish(*modules);
  }

 private:
  bool print_trace(const ModuleSet& modules, std::string& error) const {
    for (const std::string& line : fuzz::trace(modules, reproducer_, error)) {
      fmt::print(human_output(options_.json), "{}\n", line);
    }
    return error.empty();
  }

  // kClean if it could be run at all.
  int run_build(const ModuleSet& modules, module::Variant build) {
    const ReplayResult result = replay(modules, reproducer_, build, options_.times);
    if (!result.unusable.empty()) {
      return refuse(result.unusable);
    }
    if (!result.fault.empty()) {
      refuse("harness fault: " + result.fault);
      return kHarnessFault;
    }
    fmt::print(human_output(options_.json), "{}", line_of(result, reproducer_, build));
    status_ = std::max(status_, status_of(result.worst.verdict));
    if (build == builds_.front()) {
      document_.trace_hash = result.hash;
    }
    document_.schedules += result.times;
    document_.decisions += result.decisions;
    document_.seconds += result.seconds;
    return kClean;
  }

  int finish(const ModuleSet& modules) {
    document_.modules = modules.names();
    document_.strategy = "replay";
    document_.seed = reproducer_.seed;
    document_.world = nmr::text_of(reproducer_.scenario.scenario.world);
    document_.with_hash = true;
    if (status_ == kFinding) {
      document_.findings.push_back({reproducer_, {}, options_.file, reproducer_.schedule + 1});
      fmt::print(human_output(options_.json), "{}: {}\n", contract::name_of(reproducer_.kind), reproducer_.title);
    }
    return write_json(options_.json, run_json(document_)) ? status_ : kUnusable;
  }

  const ReplayOptions& options_;
  const Reproducer reproducer_;
  std::vector<module::Variant> builds_;
  RunDocument document_;
  int status_ = kClean;
};

}  // namespace

int run_replay(const ReplayOptions& options) {
  std::string error;
  auto reproducer = read_reproducer(options.file, error);
  if (!reproducer || !can_write_json(options.json, error)) {
    return refuse(error);
  }
  return ReplayCommand(options, std::move(*reproducer)).run();
}

}  // namespace nmrfuzz::fuzz
