// registered_data.h - the content of what a module hands to Register, kept to notice a change while it is in use (R13).
//
// Compared by value: the characteristics with everything but padding, the NPI identifier, the module identifier as far
// as its type uses it. What the NPI itself defines is of a size that NMR does not know, and is left out.
// The memory is the module's: it may have become a dead stack frame, so no sanitizer looks on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nmrfuzz::nmr {

#define NMRFUZZ_MODULE_MEMORY __attribute__((no_sanitize("address", "undefined")))

class RegisteredData {
 public:
  static constexpr std::size_t kStructureWords = 9;  // of 8 bytes
  static constexpr std::size_t kNpiWords = 2;
  static constexpr std::size_t kModuleWords = 3;
  static constexpr std::size_t kNpiIdWord = 5;  // of the structure: the pointers of the registration instance
  static constexpr std::size_t kModuleIdWord = 6;
  static constexpr std::size_t kNumberWord = 7;

  // REQUIRES: the structure and what its instance points to may be read.
  NMRFUZZ_MODULE_MEMORY void read(const void* structure) {
    const auto* const from = static_cast<const std::uint64_t*>(structure);
    for (std::size_t i = 0; i < kStructureWords; ++i) {
      structure_[i] = from[i];
    }
    const std::uint64_t* const npi = pointee(kNpiIdWord);
    npi_ = {npi[0], npi[1]};
    const std::uint64_t* const module = pointee(kModuleIdWord);
    for (std::size_t i = 0; i < kModuleWords; ++i) {
      module_[i] = module != nullptr ? module[i] : 0;
    }
  }

  // Whether the same memory still holds the same. REQUIRES: `structure` may be read.
  NMRFUZZ_MODULE_MEMORY bool is_still_in(const void* structure) const {
    const auto* const now = static_cast<const std::uint64_t*>(structure);
    std::uint64_t changed = 0;
    for (std::size_t i = 0; i < kStructureWords; ++i) {
      changed |= (now[i] ^ structure_[i]) & kStructureMask[i];
    }
    if (changed != 0) {
      return false;  // and what it points to now need not be readable
    }
    const std::uint64_t* const npi = pointee(kNpiIdWord);
    changed = (npi[0] ^ npi_[0]) | (npi[1] ^ npi_[1]);
    if (const std::uint64_t* const module = pointee(kModuleIdWord); module != nullptr) {
      changed |= ((module[0] ^ module_[0]) & kModuleMask) | (module[1] ^ module_[1]) |
                 (uses_third_word() ? module[2] ^ module_[2] : 0);
    }
    return changed == 0;
  }

  // Whether both carry the same module identifier and Number.
  bool is_same_instance(const RegisteredData& other) const {
    return static_cast<std::uint32_t>(structure_[kNumberWord]) ==
               static_cast<std::uint32_t>(other.structure_[kNumberWord]) &&
           ((module_[0] ^ other.module_[0]) & kModuleMask) == 0 && module_[1] == other.module_[1] &&
           (!uses_third_word() || module_[2] == other.module_[2]);
  }

 private:
  static constexpr std::uint64_t kAll = ~std::uint64_t{0};
  static constexpr std::uint64_t kLow = 0xffff'ffff;  // Version and Length, Version and Size, Number: padding follows
  static constexpr std::array<std::uint64_t, kStructureWords> kStructureMask = {kLow, kAll, kAll, kAll, kLow,
                                                                                kAll, kAll, kLow, kAll};
  static constexpr std::uint64_t kModuleMask = 0xffff'ffff'0000'ffff;  // Length, padding, Type

  const std::uint64_t* pointee(std::size_t word) const {
    return reinterpret_cast<const std::uint64_t*>(structure_[word]);
  }
  bool uses_third_word() const { return module_[0] >> 32 == 1; }  // MIT_GUID; a LUID ends before

  std::array<std::uint64_t, kStructureWords> structure_{};
  std::array<std::uint64_t, kNpiWords> npi_{};
  std::array<std::uint64_t, kModuleWords> module_{};
};

}  // namespace nmrfuzz::nmr
