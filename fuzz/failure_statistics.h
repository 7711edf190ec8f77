// failure_statistics.h - what came of the failures at each site, counted in a worker until it is told.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fuzz/failure_watch.h"
#include "fuzz/worker_message.h"
#include "module/image.h"

namespace nmrfuzz::fuzz {

class FailureStatistics {
 public:
  // An execution in which the calls at `sites` failed; `found`: with a finding.
  void count(std::span<const FailureSite> sites, bool found);
  // What was counted since the last time. `images`: those that the sites are in.
  std::vector<SiteReport> take(std::span<const std::unique_ptr<module::Image>> images);

 private:
  struct Count {
    std::uint64_t failures = 0;
    std::uint64_t findings = 0;
    std::uint64_t pair_findings = 0;
  };
  std::map<FailureSite, Count> counts_;
  std::map<FailureSite, std::string> places_;  // named once
};

}  // namespace nmrfuzz::fuzz
