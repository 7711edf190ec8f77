// build_and_load.h - a module compiled and loaded in the variant of this program: for tests, fuzz targets, benchmarks.
//
// A hunt does the two in two processes (module_set.h, worker.h).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "module/compile.h"
#include "module/image.h"

namespace nmrfuzz::fuzz {

// `options`: for the compiler. The image, or why there is none.
inline std::variant<std::unique_ptr<module::Image>, std::string> build_and_load(std::vector<std::string> sources,
                                                                                std::vector<std::string> options) {
  const module::Variant variant = module::variant_named(NMRFUZZ_VARIANT).value_or(module::Variant::kPlain);
  module::BuildRequest request;
  request.sources = std::move(sources);
  request.options = std::move(options);
  request.variants = {variant};
  const auto built = module::build(request);
  if (const auto* const failure = std::get_if<module::BuildFailure>(&built)) {
    return failure->message;
  }
  auto loaded = module::Image::load(std::get<module::Build>(built).shared_object(variant));
  if (const auto* const failure = std::get_if<module::LoadFailure>(&loaded)) {
    return failure->message;
  }
  return std::get<std::unique_ptr<module::Image>>(std::move(loaded));
}

}  // namespace nmrfuzz::fuzz
