// variant.h - the builds of one module: the same bitcode with or without a sanitizer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace nmrfuzz::module {

enum class Variant : std::uint8_t { kPlain, kAsan, kTsan };

inline constexpr std::size_t kVariants = 3;
inline constexpr std::array<Variant, kVariants> kAllVariants = {Variant::kPlain, Variant::kAsan, Variant::kTsan};

// Its name in files, options and reports: "plain", "asan", "tsan".
inline constexpr std::string_view name_of(Variant variant) {
  constexpr std::array<std::string_view, kVariants> kNames = {"plain", "asan", "tsan"};
  return kNames[static_cast<std::size_t>(variant)];
}

inline constexpr std::optional<Variant> variant_named(std::string_view name) {
  for (const Variant variant : kAllVariants) {
    if (name_of(variant) == name) {
      return variant;
    }
  }
  return std::nullopt;
}

}  // namespace nmrfuzz::module
