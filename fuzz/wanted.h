// wanted.h - the finding that a hunt near a reproducer looks for.
#pragma once

#include <string>
#include <string_view>

#include "fuzz/engine.h"

namespace nmrfuzz::fuzz {

struct Wanted {
  std::string kind;  // empty: nothing is looked for
  std::string rule;
  std::string signature;  // empty in a reproducer that has none: then every finding of the kind and rule is meant

  bool operator==(const Wanted&) const = default;

  bool anything() const { return !kind.empty(); }
  // Whether a finding of that kind and rule may be it: to be sure takes a report.
  bool may_be(std::string_view other_kind, std::string_view other_rule) const {
    return anything() && kind == other_kind && rule == other_rule;
  }
  bool is(const Report& report) const {
    return may_be(report.kind, report.rule) && (signature.empty() || signature == report.signature);
  }
  // For people.
  const std::string& text() const { return signature.empty() ? kind : signature; }
};

}  // namespace nmrfuzz::fuzz
