// death.h - what kills a worker: recorded inside it at the last moment, put into words outside.
//
// Signal handlers and the sanitizer's hook write a Death into the memory shared with the supervisor and end the process
// with kDeathStatus. Addresses are turned into places within a module's file, which mean the same in the next process.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "contract/finding.h"
#include "module/image.h"

namespace nmrfuzz::fuzz {

inline constexpr int kDeathStatus = 86;
// The supervisor sends it to a worker that makes no progress.
inline constexpr int kStuckSignal = 10;  // SIGUSR1

// A place in the code of a module: `image` counts from 0, `offset` is an address in its file.
struct CodePlace {
  std::uint32_t image = 0;
  std::uint64_t offset = 0;
};

struct Death {
  std::atomic<bool> recorded{false};  // set last
  contract::FindingKind kind = contract::FindingKind::kHarnessFault;
  bool near_null = false;  // `address` is below 64 KiB: it means the same in every run
  std::uint64_t address = 0;
  std::uint32_t bytes = 0;  // 0: unknown
  bool write = false;
  std::array<char, 64> what{};  // "access", "heap-use-after-free"
  int signal = 0;               // 0: a sanitizer's word
  std::uint32_t own_count = 0;
  std::array<std::uint64_t, 16> own{};  // frames of our own program, as addresses in its file: what to ask a debugger
  std::uint32_t place_count = 0;
  std::array<CodePlace, 32>
      places{};  // module frames, innermost first; the first may be an instruction, others are calls
};

// From here on, whatever kills this process is recorded in `death`. Both must live as long as the process. Code of
// `images` is the module's, everything else ours.
void watch_for_death(Death& death, std::span<const std::unique_ptr<module::Image>> images);

}  // namespace nmrfuzz::fuzz
