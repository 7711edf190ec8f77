#include "fuzz/conditions.h"

#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

std::string_view name_of(Faults faults) {
  switch (faults) {
    case Faults::kOff:
      return "off";
    case Faults::kSweep:
      return "sweep";
    case Faults::kOn:
      break;
  }
  return "on";
}

std::optional<Faults> faults_named(std::string_view name) {
  for (const Faults faults : {Faults::kOff, Faults::kOn, Faults::kSweep}) {
    if (name == name_of(faults)) {
      return faults;
    }
  }
  return std::nullopt;
}

std::string world_text(const Conditions& conditions) {
  return conditions.any_world ? "any" : nmr::text_of(conditions.world);
}

std::optional<std::string> set_world(Conditions& conditions, std::string_view text) {
  conditions.any_world = text == "any";
  conditions.world = {};
  if (text == "any" || text == "windows") {
    return std::nullopt;
  }
  for (const std::string& assignment : split(text, ' ')) {
    if (auto wrong = nmr::apply(conditions.world, assignment)) {
      return wrong;
    }
  }
  return std::nullopt;
}

}  // namespace nmrfuzz::fuzz
