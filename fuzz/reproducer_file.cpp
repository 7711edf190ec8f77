// Reproducers as files.
#include <fmt/core.h>

#include "fuzz/reproducer.h"
#include "module/files.h"

namespace nmrfuzz::fuzz {

std::optional<Reproducer> read_any_reproducer(const std::string& file, std::string& error) {
  const std::optional<std::string> text = module::read_file(file);
  if (!text) {
    error = fmt::format("{}: {}", file, module::last_error());
    return std::nullopt;
  }
  return parse_reproducer(*text, file, error);
}

std::optional<Reproducer> read_reproducer(const std::string& file, std::string& error) {
  auto reproducer = read_any_reproducer(file, error);
  if (reproducer && reproducer->hunted_under) {
    error = fmt::format(
        "{}: of version 1, which states no scenario, so its decisions cannot be repeated; "
        "`nmrfuzz hunt --from {}` looks for the same finding ({})",
        file, file,
        reproducer->signature.empty() ? std::string(contract::name_of(reproducer->kind)) : reproducer->signature);
    return std::nullopt;
  }
  return reproducer;
}

}  // namespace nmrfuzz::fuzz
