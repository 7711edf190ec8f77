#include "contract/characteristics.h"

#include "kernel/object.h"

namespace nmrfuzz::contract {

using trace::Event;
using trace::Outcome;

namespace {

// Freed while in use. a: registration; b: which part (kernel::kHeldStructure and so on).
std::string_view rule_of_freed(const Event& breach, const History& history) {
  if (history.is_deregistered(static_cast<trace::ObjectNumber>(breach.a))) {
    return "R103";  // Deregister was taken for the end of the use
  }
  return breach.b == kernel::kHeldStructure ? "R11" : "R12";
}

}  // namespace

std::optional<Judgement> judge_registered_data(const Event& breach, const History& history) {
  switch (breach.outcome) {
    case Outcome::kWrongVersion:
      return Judgement{"R1"};
    case Outcome::kWrongLength:
      return Judgement{"R2"};
    case Outcome::kWrongInstanceSize:
      return Judgement{"R3", Weight::kNote};
    case Outcome::kWrongInstanceVersion:
      return Judgement{"R4", Weight::kNote};
    case Outcome::kMissingNpiId:
      return Judgement{"R5"};
    case Outcome::kWrongModuleId:
      return Judgement{"R6"};
    case Outcome::kMissingModuleId:
      return Judgement{"R6", Weight::kNote};
    case Outcome::kSameNumber:
      return Judgement{"R7", Weight::kNote};
    case Outcome::kMissingCallback:
    case Outcome::kForeignCallback:
      return Judgement{"R9"};
    case Outcome::kForeignCleanup:
      return Judgement{"R10"};
    case Outcome::kCharacteristicsFreed:
      return Judgement{rule_of_freed(breach, history)};
    case Outcome::kCharacteristicsChanged:
      return Judgement{"R13"};
    case Outcome::kCharacteristicsShared:
      return Judgement{"R16", Weight::kNote};
    case Outcome::kHandleOverwritten:
      return Judgement{"R28", Weight::kNothing};  // judged at unload: the module may have kept a copy
    case Outcome::kCharacteristicsReused:
      return Judgement{"R29"};
    case Outcome::kDispatchFreed:
      return Judgement{breach.b == kernel::kHeldClientDispatch ? "R41" : "R53"};
    default:
      return std::nullopt;
  }
}

}  // namespace nmrfuzz::contract
