// content_hash.h - names contents: 128 bits by folded multiplication, for the compile cache and source hashes.
//
// Two lanes of the scheme in trace/hash.h with different constants. Not cryptographic: a cache belongs to one user.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace nmrfuzz::module {

class ContentHash {
 public:
  void add(std::uint64_t word) {
    low_ = mix(low_, word, 0xd6e8feb86659fd93);
    high_ = mix(high_, word, 0xa0761d6478bd642f);
  }
  // Length first, so that ("ab", "c") and ("a", "bc") differ.
  void add(std::string_view bytes) {
    add(bytes.size());
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
      add(word);
    }
  }

  std::uint64_t value() const { return low_; }
  // 32 hexadecimal digits.
  std::string hex() const { return hex_of(high_) + hex_of(low_); }

  // 16 hexadecimal digits.
  static std::string hex_of(std::uint64_t value) {
    std::string digits(16, '0');
    for (std::size_t i = digits.size(); i-- > 0; value >>= 4) {
      digits[i] = "0123456789abcdef"[value & 15];
    }
    return digits;
  }

 private:
  static std::uint64_t mix(std::uint64_t before, std::uint64_t word, std::uint64_t constant) {
    const auto product = static_cast<unsigned __int128>(before ^ word) * constant;
    return (static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64)) + std::rotl(before, 7);
  }

  std::uint64_t low_ = 0x9e3779b97f4a7c15;
  std::uint64_t high_ = 0xe7037ed1a0b428db;
};

}  // namespace nmrfuzz::module
