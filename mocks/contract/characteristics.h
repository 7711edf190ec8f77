// characteristics.h - what is handed to Register, and dispatch tables: R1 to R7, R9 to R13, R16, R28, R29, R41, R53,
// R103.
//
// The registrar states each fact as a kBreach event; here is what it means.
#pragma once

#include <optional>
#include <string_view>

#include "contract/history.h"

namespace nmrfuzz::contract {

enum class Weight : std::uint8_t {
  kFinding,
  kNote,
  kNothing,  // a fact for other rules
};

struct Judgement {
  std::string_view rule;
  Weight weight = Weight::kFinding;
};

// nullopt for outcomes of other kinds.
std::optional<Judgement> judge_registered_data(const trace::Event& breach, const History& history);

}  // namespace nmrfuzz::contract
