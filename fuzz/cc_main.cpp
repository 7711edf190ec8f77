// cc_main.cpp - nmrfuzz-cc: stands in for clang and makes a folder NAME.nmr from a module's sources.
#include <cstdio>
#include <string>
#include <vector>

#include "fuzz/cc_arguments.h"
#include "module/artifact.h"
#include "module/compile.h"

namespace {

constexpr int kUnusable = 2;

int refuse(const std::string& message) {
  std::fprintf(stderr, "nmrfuzz-cc: %s\n", message.c_str());
  return kUnusable;
}

int compile(const nmrfuzz::fuzz::CcArguments& arguments) {
  using namespace nmrfuzz::module;
  BuildRequest request;
  request.sources = arguments.sources;
  request.options = arguments.options;
  request.variants.assign(kAllVariants.begin(), kAllVariants.end());
  const auto built = build(request);
  if (const auto* failure = std::get_if<BuildFailure>(&built)) {
    if (failure->kind == BuildFailureKind::kCompileError) {
      std::fprintf(stderr, "%s\n", failure->message.c_str());  // the compiler's own words
      return kUnusable;
    }
    return refuse(failure->message);
  }
  std::fputs(std::get<Build>(built).diagnostics.c_str(), stderr);
  const auto written = write_artifact(arguments.output, request, std::get<Build>(built));
  if (const auto* error = std::get_if<ArtifactError>(&written)) {
    return refuse(error->message);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto arguments = nmrfuzz::fuzz::parse_cc_arguments(words);
  if (const auto* error = std::get_if<nmrfuzz::fuzz::CcError>(&arguments)) {
    return refuse(error->message);
  }
  const auto& parsed = std::get<nmrfuzz::fuzz::CcArguments>(arguments);
  if (parsed.help) {
    std::fputs(nmrfuzz::fuzz::kCcHelp, stdout);
    return 0;
  }
  return compile(parsed);
}
