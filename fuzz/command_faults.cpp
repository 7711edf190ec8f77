// `nmrfuzz faults`: make each call that can fail do so, one at a time, then pairs.
#include "fuzz/commands.h"

namespace nmrfuzz::fuzz {

int run_faults(HuntOptions options) {
  options.plan.conditions.faults = Faults::kSweep;
  options.plan.sweep_only = true;
  options.plan.keep_going = true;
  return run_hunt(std::move(options));
}

}  // namespace nmrfuzz::fuzz
